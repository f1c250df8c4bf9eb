package storage

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"splitvm/remote"
)

const blockSectors = remote.BlockSize / remote.SectorSize

// content is a block that has one value all over each of its sectors.
type content [blockSectors]uint64

func (c content) append(p []byte) []byte {
	for _, value := range c {
		for range remote.SectorSize / 8 {
			p = binary.LittleEndian.AppendUint64(p, value)
		}
	}
	return p
}

// contentOf tells what a block is; an error if a sector is a mixture.
func contentOf(p []byte) (c content, err error) {
	for i := range c {
		c[i] = binary.LittleEndian.Uint64(p[i*remote.SectorSize:])
	}
	if string(c.append(nil)) != string(p[:remote.BlockSize]) {
		err = fmt.Errorf("sectors that nobody has written: %x", p[:remote.BlockSize])
	}
	return c, err
}

// past is what was written to a block since it was last known to be durable,
// oldest first: what the power's loss leaves is one of these.
type past struct {
	all      []content
	answered int // the newest of all whose write was answered
	trail    []string
}

// life counts the host's, for messages.
var life atomic.Int64

// note keeps what happened last to a block, for messages.
func (b *past) note(what string) {
	if len(b.trail) == 12 {
		b.trail = b.trail[1:]
	}
	b.trail = append(slices.Clip(b.trail), fmt.Sprintf("%d:%s", life.Load(), what))
}

// pasts are the blocks of a volume. Each has one writer at a time, which waits for
// each answer.
type pasts struct {
	mu       sync.Mutex
	blocks   []past     // guarded by mu
	captures []*capture // guarded by mu
}

// capture is what each block was at some instant while it was being made.
type capture [][]content

func newPasts(blocks int) *pasts {
	p := &pasts{blocks: make([]past, blocks)}
	for i := range p.blocks {
		p.blocks[i].all = []content{{}}
	}
	return p
}

// newest is what a block reads as, false if that is not known.
func (p *pasts) newest(at int) (content, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := &p.blocks[at]
	return b.all[b.answered], b.answered+1 == len(b.all)
}

// submit notes a write that is about to be made.
func (p *pasts) submit(at int, blocks []content) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, c := range blocks {
		b := &p.blocks[at+i]
		b.all = append(b.all, c)
		b.note(fmt.Sprintf("write %x", c[0]))
		for _, s := range p.captures {
			(*s)[at+i] = append((*s)[at+i], c)
		}
	}
}

// answer notes that the last write of n blocks was answered, durable if it was to
// be.
func (p *pasts) answer(at, n int, durable bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.blocks[at : at+n] {
		b := &p.blocks[at+i]
		b.answered = len(b.all) - 1
		b.note("answered")
		if durable {
			b.settle()
		}
	}
}

// settle makes durable what was answered.
func (b *past) settle() {
	b.note("durable")
	b.all, b.answered = slices.Clone(b.all[b.answered:]), 0
}

// flushed notes that a flush was answered which was made when all writes of n
// blocks had been.
func (p *pasts) flushed(at, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.blocks[at : at+n] {
		p.blocks[at+i].settle()
	}
}

// capture begins one, of which end tells what it may be.
func (p *pasts) capture() (end func() *pasts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := make(capture, len(p.blocks))
	for i, b := range p.blocks {
		s[i] = slices.Clone(b.all[b.answered:])
	}
	p.captures = append(p.captures, &s)
	return func() *pasts {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.captures = slices.DeleteFunc(p.captures, func(o *capture) bool { return o == &s })
		made := &pasts{blocks: make([]past, len(s))}
		for i := range s {
			made.blocks[i].all = s[i]
		}
		return made
	}
}

// resized is what becomes of the blocks when all that was answered is made
// durable and their number changes.
func (p *pasts) resized(blocks int) *pasts {
	p.mu.Lock()
	defer p.mu.Unlock()
	made := newPasts(blocks)
	for i := range min(blocks, len(p.blocks)) {
		made.blocks[i] = p.blocks[i]
		made.blocks[i].settle()
	}
	return made
}

// read checks what was read from a block: something that the power's loss may have
// left; with sure, that lost nothing which was answered. From then on the block is
// that.
func (p *pasts) read(at int, got []byte, sure bool) error {
	c, err := contentOf(got)
	if err != nil {
		return fmt.Errorf("block %d: %w", at, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	b := &p.blocks[at]
	may := b.all
	if sure {
		may = b.all[b.answered:]
	}
	if !slices.Contains(may, c) {
		return fmt.Errorf("block %d is %x, which is older than what was flushed, or another block; it may be %x; %q", at, c, may, b.trail)
	}
	if sure {
		return nil
	}
	b.all, b.answered = []content{c}, 0
	b.note("found")
	return nil
}
