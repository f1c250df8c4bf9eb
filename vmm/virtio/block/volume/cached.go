package volume

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"splitvm/remote"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/block/volume/cache"
)

const (
	// age is how long a write may wait for a flush before it is sent without, as in
	// the page cache of the host that a local disk has (Linux 6.12, vm.dirty_expire_centisecs).
	age = 30 * time.Second
	// retryTime is how long to wait after a write that could not be sent.
	retryTime = time.Second
)

// cached is the write-back cache of a volume. Package cache says what is in it, and
// a memory file of the volume's size has the contents at the volume's offsets, so
// that a hit is one system call between the file and guest memory.
type cached struct {
	d    *Disk
	file *os.File // immutable, as are fd, size and log
	fd   int
	size uint64
	log  *slog.Logger
	wake chan struct{} // something to send, perhaps
	over chan struct{} // closed when the sender has ended
	ops  sync.Pool
	idle sync.Pool // sendings

	mu      sync.Mutex // held over copies between the file and buffers, not guest memory
	index   *cache.Index
	flushes []*op // that wait for what became dirty before, in order
	late    []*op // writes that are answered when less is dirty
	running int   // requests that are no flushes, and sendings
	waiting []*op // those that may not run yet, in order
	alone   bool  // one runs that tolerates no other
	sending int
	stats   CacheStats
	failed  error     // of the last sending; nil if it was done
	retry   time.Time // not before
	closing bool
	lost    error // of the last sending that began while closing
}

// op is a guest's request on its way.
type op struct {
	c           *cached
	r           *block.Request
	owner       owner
	first, n    uint64        // blocks
	newer, fill []uint64      // of a read: what the volume lacks, what to keep
	runs        []run         // of a write
	lower       block.Request // the flush that ends a flush or durable write
	flushing    bool          // lower is, or will be, under way
	epoch       uint64        // of a flush
	late        bool          // a write that waits until less is dirty

	left int   // guarded by c.mu: parts of a write that are not done
	err  error // guarded by c.mu
}

func newCached(d *Disk, limit uint64, log *slog.Logger) (*cached, error) {
	if log == nil {
		log = slog.Default()
	}
	c := &cached{d: d, size: d.v.Size(), log: log, wake: make(chan struct{}, 1), over: make(chan struct{}),
		index: cache.New(int(max(limit/remote.BlockSize, 1)))}
	var err error
	if c.file, err = memoryFile(c.size); err != nil {
		return nil, err
	}
	c.fd = int(c.file.Fd())
	go c.send()
	return c, nil
}

// submit is block.Session's Submit; who owns the request is told if it is not done.
func (c *cached) submit(r *block.Request, who owner) (done bool, err error) {
	if err := c.d.v.Err(); err != nil { // somebody else may write it by now
		return true, fmt.Errorf("%v of %d bytes at %d: %w", r.Op, r.Length, r.Offset, err)
	}
	o, _ := c.ops.Get().(*op)
	if o == nil {
		o = &op{c: c}
	}
	o.r, o.owner, o.err, o.left, o.flushing, o.late = r, who, nil, 0, false, false
	c.mu.Lock()
	if r.Op == block.OpFlush {
		c.flush(o)
		return false, nil
	}
	o.first = r.Offset / remote.BlockSize
	o.n = (r.Offset+r.Length-1)/remote.BlockSize + 1 - o.first
	if len(c.waiting) > 0 || !c.admit(o) {
		c.waiting = append(c.waiting, o)
		c.mu.Unlock()
		return false, nil
	}
	if done, err = c.begin(o); done {
		c.ops.Put(o)
	}
	return done, err
}

// admit lets a request run, unless it or another one has to run alone.
// Preconditions: mu is held.
func (c *cached) admit(o *op) bool {
	lonely := o.r.Op == block.OpDiscard || o.r.Op == block.OpWriteZeroes
	if c.alone || lonely && c.running > 0 {
		return false
	}
	c.running++
	c.alone = lonely
	return true
}

// begin starts a request that was admitted.
// Preconditions: mu is held. It is released.
func (c *cached) begin(o *op) (done bool, err error) {
	switch o.r.Op {
	case block.OpRead:
		return c.read(o)
	case block.OpWrite:
		return c.write(o)
	}
	c.forget(o)
	c.mu.Unlock()
	c.d.start(o.r, o)
	return false, nil
}

// leave ends what was admitted, and starts what waited for that.
// Preconditions: mu is held. It is released.
func (c *cached) leave() {
	c.running--
	if c.alone {
		c.alone = false
		c.poke()
	}
	for len(c.waiting) > 0 && c.admit(c.waiting[0]) {
		o := c.waiting[0]
		c.waiting = c.waiting[1:]
		if done, err := c.begin(o); done {
			c.end(o, err)
		}
		c.mu.Lock()
	}
	c.mu.Unlock()
}

// end answers a request.
func (c *cached) end(o *op, err error) {
	who := o.owner
	c.ops.Put(o)
	who.Done(err)
}

// read is begin for one.
func (c *cached) read(o *op) (done bool, err error) {
	r := o.r
	keep := r.Offset%remote.BlockSize == 0 && r.Length%remote.BlockSize == 0
	var hit bool
	hit, o.newer, o.fill = c.index.BeginRead(o.first, o.n, keep, o.newer[:0], o.fill[:0])
	c.punch(c.index.Evicted())
	if !hit {
		c.stats.Missed += r.Length
		c.mu.Unlock()
		c.d.start(r, o)
		return false, nil
	}
	c.stats.Hit += r.Length
	c.mu.Unlock()
	err = c.load(r.Memory, r.Offset)
	c.mu.Lock()
	for b := o.first; b < o.first+o.n; b++ {
		c.index.EndRead(b)
	}
	c.leave()
	return true, err
}

// Done is called when the volume has done what it was asked for: a read that missed,
// a flush, or what runs alone.
func (o *op) Done(err error) {
	c := o.c
	switch {
	case o.flushing:
		c.end(o, err)
		return
	case o.r.Op == block.OpRead:
		err = c.merge(o, err)
	default:
		c.mu.Lock()
	}
	ready := c.ready() // what was forgotten need not be sent
	c.leave()
	c.goOn(ready)
	c.end(o, err)
}

// merge completes what a read brought with what only the cache has, and keeps the rest.
// Postconditions: mu is held.
func (c *cached) merge(o *op, err error) error {
	for r := range runsOf(o.newer) {
		if err == nil {
			at, mem := c.window(o.r, r)
			err = c.load(mem, at)
		}
	}
	stored := err == nil
	for r := range runsOf(o.fill) {
		if stored {
			at, mem := c.window(o.r, r)
			stored = c.store(mem, at) == nil
		}
	}
	c.mu.Lock()
	var gone []uint64
	for _, b := range o.fill {
		if !c.index.EndFill(b, stored) {
			gone = append(gone, b)
		}
	}
	c.punch(gone)
	for _, b := range o.newer {
		c.index.EndRead(b)
	}
	return err
}

// write is begin for one. What can't go to the cache goes past it.
func (c *cached) write(o *op) (done bool, err error) {
	r := o.r
	o.runs = o.runs[:0]
	for b := o.first; b < o.first+o.n; b++ {
		whole := r.Offset <= b*remote.BlockSize && r.Offset+r.Length >= c.endOf(b)
		cached := c.index.BeginWrite(b, whole)
		if i := len(o.runs) - 1; i >= 0 && o.runs[i].cached == cached {
			o.runs[i].n++
			continue
		}
		o.runs = append(o.runs, run{first: b, n: 1, cached: cached})
		if !cached {
			o.left++
		}
	}
	o.left++ // the part that is done here
	c.punch(c.index.Evicted())
	c.mu.Unlock()

	for i := range o.runs {
		u := &o.runs[i]
		at, mem := c.window(r, *u)
		if u.cached {
			u.err = c.store(mem, at)
			continue
		}
		c.d.start(&block.Request{Op: block.OpWrite, Offset: at, Length: sizeOf(mem), Memory: mem, Durable: r.Durable}, &direct{o, u.first, u.n})
	}

	c.mu.Lock()
	now := time.Now()
	for _, u := range o.runs {
		if !u.cached {
			continue
		}
		var gone []uint64
		for b := u.first; b < u.first+u.n; b++ {
			if !c.index.EndWrite(b, u.err == nil, now) {
				gone = append(gone, b)
			}
		}
		c.punch(gone)
		if u.err != nil && o.err == nil {
			o.err = u.err
		}
		o.flushing = o.flushing || r.Durable
	}
	if len(c.flushes) > 0 || c.index.Dirty() > c.enough() {
		c.poke()
	}
	if c.index.Dirty() > c.index.MaxDirty() && c.failed == nil {
		o.late = true
		c.late = append(c.late, o)
		c.mu.Unlock()
		return false, nil
	}
	return c.written(o)
}

// direct is a part of a write that goes past the cache.
type direct struct {
	o        *op
	first, n uint64
}

// Done is called when the volume has it.
func (p *direct) Done(err error) {
	c := p.o.c
	c.mu.Lock()
	for b := p.first; b < p.first+p.n; b++ {
		c.index.EndDirect(b)
	}
	if p.o.err == nil {
		p.o.err = err
	}
	if done, err := c.written(p.o); done {
		c.end(p.o, err)
	}
	c.d.v.Send()
	c.poke() // the cache's content of these blocks may go now
}

// written is called when a part of a write is done. A durable write ends with a flush.
// Preconditions: mu is held. It is released.
func (c *cached) written(o *op) (done bool, err error) {
	if o.left--; o.left > 0 {
		c.mu.Unlock()
		return false, nil
	}
	err, flush := o.err, o.flushing
	c.leave()
	if err != nil || !flush {
		o.flushing = false
		return true, err
	}
	c.mu.Lock()
	c.flush(o)
	return false, nil
}

// forget takes what a discard or write of zeroes covers out of the cache. Of a block
// that is written with zeroes in part, that part becomes zeroes in the cache as well.
// Preconditions: mu is held, nothing else runs.
func (c *cached) forget(o *op) {
	r := o.r
	first, end := (r.Offset+remote.BlockSize-1)/remote.BlockSize, (r.Offset+r.Length)/remote.BlockSize
	if r.Offset+r.Length == c.size {
		end = o.first + o.n
	}
	if first < end {
		c.index.Drop(first, end-first)
	}
	if r.Op == block.OpWriteZeroes {
		c.clear(r.Offset, r.Length)
	} else if first < end {
		c.clear(first*remote.BlockSize, (end-first)*remote.BlockSize)
	}
}

// endOf is where a block ends: the volume's last may be shorter.
func (c *cached) endOf(b uint64) uint64 { return min((b+1)*remote.BlockSize, c.size) }
