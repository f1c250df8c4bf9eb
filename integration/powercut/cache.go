package powercut

import (
	"bytes"
	"math/rand/v2"
	"sync"
)

// Sector is what a disk writes as a whole, in bytes.
const Sector = 512

// super is what the beginning of a disk is written by as a whole: ext4 writes its
// superblock there, outside the journal, and is lost if it is torn. Disks have had
// sectors of 4 KiB for long, but the rest of the world is to be ready for less.
const super = 4096

// change is a write, or with no data the discard of a stretch.
type change struct {
	off, n int64
	data   []byte
}

// power is the state of a disk.
//
//	on -> cut     Cut, or the operation that Arm named
//	cut -> gone   Discard
type power uint8

const (
	on   power = iota
	cut        // all requests wait
	gone       // they end, to no effect on what Cut returned
)

// cache is a disk with a volatile write cache.
type cache struct {
	lie float64 // share of the flushes that do nothing

	mu      sync.Mutex
	resume  sync.Cond     // state has become gone
	state   power         // guarded by mu, as is all below
	durable *Image        // what a loss of power leaves for sure
	current *Image        // what is read: durable and all of pending
	pending []change      // since the last flush, in order
	fuse    int           // operations until the cut; 0: not armed
	blown   chan struct{} // closed by the operation that cuts
	late    bool          // that one takes effect before
	seen    Stats
}

// Stats count what a disk has done.
type Stats struct{ Writes, Discards, Flushes int }

func newCache(image *Image, lie float64) *cache {
	c := &cache{lie: lie, durable: image, current: image.Clone()}
	c.resume.L = &c.mu
	return c
}

// arm makes the nth operation from now on the last one, or with late the first
// one that has no effect. Reads don't count.
func (c *cache) arm(n int, late bool) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fuse, c.late, c.blown = n, late, make(chan struct{})
	return c.blown
}

// operate runs do, which takes effect, or waits if there is no power.
func (c *cache) operate(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := false
	if c.state == on && c.fuse > 0 {
		c.fuse--
		last = c.fuse == 0
	}
	if last && !c.late {
		c.blow()
	}
	for c.state == cut {
		c.resume.Wait()
	}
	do()
	if last && c.late {
		c.blow()
		for c.state == cut { // it is never answered
			c.resume.Wait()
		}
	}
}

// blow cuts the power. Preconditions: mu is held.
func (c *cache) blow() {
	c.state = cut
	close(c.blown)
}

func (c *cache) read(p []byte, off int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.state == cut {
		c.resume.Wait()
	}
	c.current.read(p, off)
}

func (c *cache) write(p []byte, off int64) {
	c.operate(func() {
		c.seen.Writes++
		c.change(change{off: off, n: int64(len(p)), data: bytes.Clone(p)})
	})
}

func (c *cache) discard(off, n int64) {
	c.operate(func() {
		c.seen.Discards++
		c.change(change{off: off, n: n})
	})
}

// change does a change. Preconditions: mu is held.
func (c *cache) change(w change) {
	c.current.apply(w)
	if c.state == on {
		c.pending = append(c.pending, w)
	}
}

// flush makes all that was written durable.
func (c *cache) flush() {
	c.operate(func() {
		c.seen.Flushes++
		if c.state != on || rand.Float64() < c.lie {
			return
		}
		for _, w := range c.pending {
			c.durable.apply(w)
		}
		c.pending = nil
	})
}

// cut cuts the power, if that was not done, and returns what is left then.
func (c *cache) cut(rng *rand.Rand) *Image {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = cut
	image := c.durable // there is no flush any more
	survivors(c.pending, rng, image.apply)
	c.pending = nil
	return image
}

func (c *cache) discardAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = gone
	c.resume.Broadcast()
}

// survivors calls keep for what makes it to the disk of changes that nobody had
// flushed, in their order. A change of a sector may be lost and an older one of
// the same sector kept: so it is if the older one had left the cache by itself.
func survivors(list []change, rng *rand.Rand, keep func(change)) {
	luck := rng.Float64() // how much makes it, this time
	unit := int64(Sector)
	switch rng.IntN(8) {
	case 0:
		return
	case 1:
		luck = 1
	case 2: // as a disk without a cache that writes in order
		list, luck = list[:rng.IntN(len(list)+1)], 1
	case 3: // all but a few
		luck = 1 - luck/16
	case 4: // only a few
		luck /= 16
	case 5: // in blocks of the file system
		unit = 4096
	}
	for _, w := range list {
		for off := w.off; off < w.off+w.n; {
			unit := unit
			if off < super {
				unit = super
			}
			n := min((off/unit+1)*unit, w.off+w.n) - off
			if rng.Float64() < luck {
				part := change{off: off, n: n}
				if w.data != nil {
					part.data = w.data[off-w.off:][:n]
				}
				keep(part)
			}
			off += n
		}
	}
}
