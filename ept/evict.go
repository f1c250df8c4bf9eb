package ept

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
)

const (
	// maxWriteBacks is how many write-back batches are on their way at most.
	maxWriteBacks = 8
	// scanPerBatch bounds the policy's candidates that a batch looks at.
	scanPerBatch = 4 * batchLines
)

// evictor keeps free frames ahead of demand: when fewer than low are left it
// evicts until there are high. One goroutine; punching holes into one memfd is serialized by the
// kernel anyway (the inode's lock).
type evictor struct {
	pager *Pager
	wake  chan struct{}
	busy  atomic.Bool // something is to do, or under way

	mu    sync.Mutex
	acked []*writeBack // answered, to be finished; guarded by mu

	// Of the evictor's goroutine:
	leaving   int64 // lines in batches under way
	underWay  int   // write-back batches
	next      int   // shard to look at
	retryFrom time.Time
	scratch   []excache.Line
}

// demandReserve is how many free frames are kept for demand alone.
func demandReserve(capacity int64) int64 { return min(max(capacity/64, 16), 1024) }

// watermarks returns how many free frames start and end an eviction: a little for
// demand, and as much as streams need on top.
func (p *Pager) watermarks() (low, high int64) {
	capacity, streams := p.budget.capacity.Load(), p.streams.Load()
	low = demandReserve(capacity)
	return low + streams/2, low + min(max(capacity/64, 64), 1024) + streams
}

// wantFrames is told that advice was or could have been cut for lack of free frames. A
// stream takes as many frames in the time of a write-back as it uses lines, so
// the reserve for streams doubles, up to a quarter of the ExCache.
func (p *Pager) wantFrames() {
	now := p.streams.Load()
	p.streams.CompareAndSwap(now, min(2*now+batchLines, p.budget.capacity.Load()/4))
}

// forgetFrames halves the reserve for streams; called now and then.
func (p *Pager) forgetFrames() {
	now := p.streams.Load()
	p.streams.CompareAndSwap(now, now/2)
}

// kick wakes the evictor.
func (e *evictor) kick() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// checkFree wakes the evictor if free frames are getting few.
func (p *Pager) checkFree() {
	if low, _ := p.watermarks(); p.budget.free() < low {
		p.evictor.kick()
	}
}

// run is the evictor's goroutine; it ends with ctx.
func (e *evictor) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		e.busy.Store(true)
		low, high := e.pager.watermarks()
		e.finish()
		if e.pager.budget.free() >= low {
			e.busy.Store(e.underWay > 0)
			continue
		}
		for ctx.Err() == nil && e.pager.budget.free()+e.leaving < high {
			if !e.evictSome(int(high - e.pager.budget.free() - e.leaving)) {
				break
			}
			e.finish()
		}
		if e.pager.budget.free() < low && e.underWay == 0 {
			time.AfterFunc(time.Millisecond, e.kick) // all lines are in transitions
		}
		e.busy.Store(e.underWay > 0)
	}
}

// evictSome starts to evict up to want lines of one shard, and tells whether there was any.
func (e *evictor) evictSome(want int) bool {
	for range e.pager.shards {
		sh := e.pager.shards[e.next%len(e.pager.shards)]
		e.next++
		clean, dirty := e.choose(sh, min(want, batchLines))
		if len(clean)+len(dirty) == 0 {
			continue
		}
		e.drop(sh, clean, e.copyClean(sh, clean))
		e.writeBack(sh, dirty)
		return true
	}
	return false
}

// choose takes victims from the shard's policy: clean ones are Dropping on
// return, dirty ones Protecting. Both are sorted. Dirty lines stay while write-backs fail, or
// when enough are on their way.
func (e *evictor) choose(sh *shard, want int) (clean, dirty []excache.Line) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	writing := e.underWay < maxWriteBacks && time.Now().After(e.retryFrom)
	for range scanPerBatch {
		if len(clean)+len(dirty) >= want {
			break
		}
		l, ok := sh.policy.Victim()
		if !ok {
			break
		}
		if !writing && sh.pager.table.At(l).State() == excache.Dirty {
			sh.policy.Again(l)
			continue
		}
		do, err := sh.step(l, excache.Evict, policy.Demand)
		switch {
		case err != nil:
			sh.pager.broken(err)
			return nil, nil
		case do.Has(excache.Punch):
			clean = append(clean, l)
		case do.Has(excache.Protect):
			dirty = append(dirty, l)
		case inPolicy(sh.pager.table.At(l)):
			sh.policy.Again(l) // in a transition, or an older write-back is unanswered
		}
	}
	slices.Sort(clean)
	slices.Sort(dirty)
	return slices.Compact(clean), slices.Compact(dirty)
}

// inPolicy tells whether a policy should have the line.
func inPolicy(e excache.Entry) bool {
	switch e.State() {
	case excache.Mapping, excache.Opening, excache.Clean, excache.Dirty:
		return true
	}
	return false
}

// drop punches out lines that are Dropping. Copies, if not nil, has a frame for
// each line that should be held back, and is used up.
func (e *evictor) drop(sh *shard, lines []excache.Line, copies []*frame) {
	p := e.pager
	position := 0
	p.layout.runs(lines, func(r run) {
		if err := p.punch(r); err != nil {
			p.fail(r.first, err)
			return
		}
		for i := range r.count {
			var f *frame
			if copies != nil {
				f = copies[position+i]
			}
			e.dropped(sh, r.first+excache.Line(i), f)
		}
		position += r.count
	})
	e.trimHeld(sh)
}

// dropped steps a line whose page is punched out.
func (e *evictor) dropped(sh *shard, l excache.Line, f *frame) {
	p := e.pager
	ev := excache.Dropped
	if f != nil {
		ev = excache.DroppedHold
	}
	sh.mu.Lock()
	do, err := sh.step(l, ev, policy.Demand)
	kept := err == nil && sh.pager.table.At(l).State() == excache.Held
	if kept {
		sh.held.put(l, f, false)
		f = nil
	}
	sh.mu.Unlock()
	p.stats.Evicted.Add(1)
	switch {
	case err != nil:
		p.broken(err)
	case do.Has(installs):
		p.perform(job{shard: sh, line: l, do: do, frame: f, credit: true})
		f = nil
	case do.Has(excache.Awaited):
		p.perform(job{shard: sh, line: l, do: do, credit: true})
	case !kept:
		p.release(1)
	}
	f.free()
}

// release gives back credits, and goes on with the jobs that waited for them.
func (p *Pager) release(n int64) {
	for _, j := range p.budget.release(n) {
		p.perform(j)
	}
}

// punch gives the pages of a run back to the host.
func (p *Pager) punch(r run) error {
	off := p.layout.slotOf(r.first).offset(r.first)
	for {
		err := unix.Fallocate(p.cfg.Memory, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, int64(r.count)*excache.LineSize)
		if err != unix.EINTR {
			return err
		}
	}
}
