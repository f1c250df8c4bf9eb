package volume

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/remote"
	"splitvm/remote/blockclient"
	"splitvm/remote/blockwire"
	"splitvm/vmm/virtio/block"
)

// fake is a volume that does what it is asked for late, out of order, and when it is
// told to not at all.
type fake struct {
	mu      sync.Mutex
	rng     *rand.Rand
	now     []byte   // what a read finds
	durable []byte   // what a loss of power leaves
	changes []uint64 // by sector, how often it changed; and of what is durable
	kept    []uint64
	broken  bool
	queued  []*blockclient.Request
	flying  sync.WaitGroup
}

var errBroken = errors.New("broken")

func (f *fake) Size() uint64   { return uint64(len(f.now)) }
func (f *fake) ReadOnly() bool { return false }
func (f *fake) Err() error     { return nil }
func (f *fake) Close() error   { f.flying.Wait(); return nil }

func (f *fake) Queue(r *blockclient.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queued = append(f.queued, r)
}

func (f *fake) Send() {
	f.mu.Lock()
	list := f.queued
	f.queued = nil
	waits := make([]time.Duration, len(list))
	for i := range waits {
		waits[i] = time.Duration(f.rng.IntN(300)) * time.Microsecond
	}
	f.mu.Unlock()
	for i, r := range list {
		// A flush covers what was answered before it was sent.
		var covered []byte
		var changes []uint64
		if r.Op == blockwire.Flush {
			f.mu.Lock()
			covered, changes = bytes.Clone(f.now), slices.Clone(f.changes)
			f.mu.Unlock()
		}
		f.flying.Go(func() {
			time.Sleep(waits[i] / 2)
			err := f.do(r)
			if r.Op == blockwire.Flush && err == nil {
				f.keep(0, covered, changes)
			}
			time.Sleep(waits[i] / 2)
			r.Err = err
			r.Done(r)
		})
	}
}

// keep makes content durable, of those sectors where it is newer than what is.
func (f *fake) keep(at uint64, content []byte, changes []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, n := range changes {
		if s := at/remote.SectorSize + uint64(i); n > f.kept[s] {
			f.kept[s] = n
			copy(f.durable[s*remote.SectorSize:][:remote.SectorSize], content[i*remote.SectorSize:])
		}
	}
}

func (f *fake) do(r *blockclient.Request) error {
	f.mu.Lock()
	if r.Durable {
		defer f.keep(r.Offset, f.now[r.Offset:], f.changes[r.Offset/remote.SectorSize:][:r.Length/remote.SectorSize])
	}
	defer f.mu.Unlock()
	at := f.now[r.Offset:]
	switch {
	case f.broken && r.Op != blockwire.Read:
		return errBroken
	case r.Op == blockwire.Read:
		for _, m := range r.Memory {
			at = at[copy(m, at):]
		}
	case r.Op == blockwire.Write:
		n := uint64(0)
		for _, m := range r.Memory {
			n += uint64(copy(at[n:], m))
		}
		if n != r.Length {
			return fmt.Errorf("%d bytes of memory for a write of %d", n, r.Length)
		}
	case r.Op != blockwire.Flush:
		clear(at[:r.Length])
	}
	if r.Op != blockwire.Read {
		for s := range r.Length / remote.SectorSize {
			f.changes[r.Offset/remote.SectorSize+s]++
		}
	}
	return nil
}

// ender is who owns a request.
type ender chan error

func (e ender) Done(err error) { e <- err }

// guest uses a part of the volume that no other writes; it has one request under way.
type guest struct {
	t        *testing.T
	c        *cached
	f        *fake
	rng      *rand.Rand
	from, to uint64 // bytes, multiples of the sector size only
	has      []byte // what it wrote, from from on
	unknown  map[uint64]bool
	errors   int
}

func (g *guest) do(r *block.Request) error {
	e := make(ender, 1)
	done, err := g.c.submit(r, e)
	g.f.Send() // the session's Commit
	if !done {
		err = <-e
	}
	return err
}

// pick is a range of a part, and as many bytes in uneven pieces.
func (g *guest) pick(from, to, most uint64) *block.Request {
	sectors := (to - from) / remote.SectorSize
	first := g.rng.Uint64N(sectors)
	n := 1 + g.rng.Uint64N(min(most, sectors-first))
	if g.rng.IntN(2) == 0 { // whole blocks, where there are any
		begin := (from/remote.SectorSize + first + 7) / 8 * 8
		if end := (begin + n + 7) / 8 * 8; end*remote.SectorSize <= to {
			first, n = begin-from/remote.SectorSize, end-begin
		}
	}
	r := &block.Request{Offset: from + first*remote.SectorSize, Length: n * remote.SectorSize}
	for left := r.Length; left > 0; {
		k := min(1+g.rng.Uint64N(9000), left)
		r.Memory = append(r.Memory, make([]byte, k))
		left -= k
	}
	return r
}

func (g *guest) step() {
	n := g.rng.IntN(100)
	if n < 20 { // what others write, too
		r := g.pick(0, g.f.Size(), 64)
		if err := g.do(r); err != nil {
			g.t.Errorf("read: %v", err)
		}
		at, end := max(r.Offset, g.from), min(r.Offset+r.Length, g.to)
		if at < end {
			g.compare("read", at, bytes.Join(r.Memory, nil)[at-r.Offset:end-r.Offset])
		}
		return
	}
	r := g.pick(g.from, g.to, 64)
	mine := g.has[r.Offset-g.from:][:r.Length]
	switch {
	case n < 45:
		if err := g.do(r); err != nil {
			g.t.Errorf("read: %v", err)
		}
		g.compare("read", r.Offset, bytes.Join(r.Memory, nil))
	case n < 85:
		r.Op, r.Durable = block.OpWrite, n < 50
		for _, m := range r.Memory {
			for i := range m {
				m[i] = byte(g.rng.Uint32())
			}
		}
		for g.do(r) != nil { // what is there after an error is anybody's guess
			g.errors++
		}
		copy(mine, bytes.Join(r.Memory, nil))
		g.mark(r, false)
		if r.Durable {
			g.lasts("durable write", r.Offset, r.Length)
		}
	case n < 92:
		r.Op, r.Memory = block.OpWriteZeroes, nil
		for g.do(r) != nil {
			g.errors++
		}
		clear(mine)
		g.mark(r, false)
	case n < 95:
		r.Op, r.Memory = block.OpDiscard, nil
		g.do(r)
		g.mark(r, true)
	default:
		for g.do(&block.Request{Op: block.OpFlush}) != nil {
			g.errors++
		}
		g.lasts("flush", g.from, g.to-g.from)
	}
}

func (g *guest) mark(r *block.Request, unknown bool) {
	for s := r.Offset; s < r.Offset+r.Length; s += remote.SectorSize {
		if delete(g.unknown, s); unknown {
			g.unknown[s] = true
		}
	}
}

// compare checks bytes of the volume.
func (g *guest) compare(what string, at uint64, got []byte) {
	for s := uint64(0); s < uint64(len(got)); s += remote.SectorSize {
		want := g.has[at+s-g.from:][:remote.SectorSize]
		if !g.unknown[at+s] && !bytes.Equal(got[s:][:remote.SectorSize], want) {
			g.t.Fatalf("after a %s, sector %d is %x..., want %x...", what, (at+s)/remote.SectorSize, got[s:s+8], want[:8])
		}
	}
}

// lasts checks what a loss of power would leave.
func (g *guest) lasts(what string, at, n uint64) {
	g.f.mu.Lock()
	got := bytes.Clone(g.f.durable[at:][:n])
	g.f.mu.Unlock()
	g.compare(what+" and a loss of power", at, got)
}

// open returns a cache of so many blocks and the volume behind it.
func open(t *testing.T, size, blocks uint64) (*cached, *fake) {
	t.Helper()
	f := &fake{rng: rand.New(rand.NewPCG(blocks, 0)), now: make([]byte, size), durable: make([]byte, size),
		changes: make([]uint64, size/remote.SectorSize), kept: make([]uint64, size/remote.SectorSize)}
	c, err := newCached(&Disk{v: f, name: "v"}, blocks*remote.BlockSize, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c, f
}

// Guests that write next to each other find what they wrote, and after a flush it lasts,
// with a cache that is smaller than the volume and a volume that fails for a while.
func TestCachedGuests(t *testing.T) {
	const size, guests = 512<<10 - remote.SectorSize*3, 6
	for _, blocks := range []uint64{1, 5, 24, 200} {
		t.Run(fmt.Sprint(blocks), func(t *testing.T) {
			c, f := open(t, size, blocks)
			var list []*guest
			for i := range uint64(guests) {
				const sectors = size / remote.SectorSize
				g := &guest{t: t, c: c, f: f, rng: rand.New(rand.NewPCG(blocks, i+1)), unknown: map[uint64]bool{},
					from: i * sectors / guests * remote.SectorSize, to: (i + 1) * sectors / guests * remote.SectorSize}
				g.has = make([]byte, g.to-g.from)
				list = append(list, g)
			}
			var wg sync.WaitGroup
			for _, g := range list {
				wg.Go(func() {
					for range steps {
						g.step()
					}
				})
			}
			stop := make(chan struct{})
			var trouble sync.WaitGroup
			trouble.Go(func() {
				for broken := false; ; broken = !broken {
					f.mu.Lock()
					f.broken = broken
					f.mu.Unlock()
					select {
					case <-stop:
						f.mu.Lock()
						f.broken = false
						f.mu.Unlock()
						return
					case <-time.After(10 * time.Millisecond):
					}
				}
			})
			wg.Wait()
			close(stop)
			trouble.Wait()
			if held := c.index.Held(); held > int(blocks) {
				t.Errorf("the cache has %d blocks, %d are its limit", held, blocks)
			}
			var st unix.Stat_t
			if err := unix.Fstat(c.fd, &st); err != nil || uint64(st.Blocks)*512 > blocks*remote.BlockSize {
				t.Errorf("the cache's file has %d bytes of memory, %d is its limit; %v", st.Blocks*512, blocks*remote.BlockSize, err)
			}
			if err := c.close(); err != nil {
				t.Error(err)
			}
			errors := 0
			for _, g := range list {
				g.compare("close", g.from, f.now[g.from:g.to])
				errors += g.errors
			}
			if errors == 0 {
				t.Error("nothing has failed")
			}
		})
	}
}

// A flush that waits for what is discarded then waits no more.
func TestFlushOfWhatIsDiscarded(t *testing.T) {
	c, f := open(t, 64<<10, 16)
	do := func(op block.Op) ender {
		e := make(ender, 1)
		r := &block.Request{Op: op, Length: remote.BlockSize}
		if op == block.OpWrite {
			r.Memory = [][]byte{make([]byte, remote.BlockSize)}
		}
		if done, err := c.submit(r, e); done {
			e <- err
		}
		return e
	}
	for range 300 {
		write := do(block.OpWrite)
		flush, discard := do(block.OpFlush), do(block.OpDiscard)
		f.Send()
		for _, e := range []ender{write, flush, discard} {
			if err := <-e; err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}

// steps is how much each guest does.
const steps = 500
