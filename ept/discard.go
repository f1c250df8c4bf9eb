package ept

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
	"splitvm/remote"
)

// Discard gives up the content of [gpa, gpa+size): it reads as zeroes
// afterwards, and its memory is free here and at the monitors. The guest must
// not touch it until Discard has returned. The error says what is left: calling again
// goes on with it.
func (p *Pager) Discard(gpa GPA, size uint64) error {
	if (uint64(gpa)|size)&(excache.LineSize-1) != 0 || size > maxAddress || uint64(gpa) > maxAddress-size {
		return fmt.Errorf("discard %#x bytes at %#x: not whole lines of guest memory", size, uint64(gpa))
	}
	deadline := time.Now().Add(p.cfg.Deadline)
	end := excache.Line((uint64(gpa) + size) >> excache.LineShift)
	for l := excache.Line(gpa >> excache.LineShift); l < end; {
		n := p.layout.bound(l, int(min(end-l, remote.MaxBatch)))
		if n == 0 {
			return fmt.Errorf("discard at %#x: not guest memory", uint64(l)<<excache.LineShift)
		}
		if err := p.discardRun(run{l, n}, deadline); err != nil {
			return fmt.Errorf("discard at %#x: %w", uint64(l)<<excache.LineShift, err)
		}
		l += excache.Line(n)
	}
	return nil
}

// discarding is one round over the lines of a run that aren't Zero yet.
type discarding struct {
	pager *Pager
	shard *shard
	punch []excache.Line // Dropping
	send  []excache.Line // Discarding
	busy  int            // in somebody else's transition

	wg     sync.WaitGroup // of the DISCARDs
	mu     sync.Mutex
	failed error // guarded by mu
}

// discardRun steps Discard on the lines until all are Zero.
func (p *Pager) discardRun(r run, deadline time.Time) error {
	for {
		d := &discarding{pager: p, shard: p.shards[p.layout.shardOf(r.first)]}
		if err := d.begin(r); err != nil {
			return err
		}
		if err := d.punched(); err != nil {
			return err
		}
		if err := d.sent(); err != nil {
			return err
		}
		if len(d.punch)+len(d.send)+d.busy == 0 {
			return nil
		}
		if p.stopped() || time.Now().After(deadline) {
			return errors.New("the guest still uses the memory, or the pager is stopping")
		}
		if d.busy > 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// begin steps the lines and sorts them by what is to be done.
func (d *discarding) begin(r run) error {
	sh, copies := d.shard, 0
	sh.mu.Lock()
	defer func() {
		sh.mu.Unlock()
		d.pager.release(int64(copies))
	}()
	for i := range r.count {
		l := r.first + excache.Line(i)
		do, err := sh.step(l, excache.Discard, policy.Demand)
		switch {
		case err != nil:
			return err
		case do.Has(excache.Punch):
			d.punch = append(d.punch, l)
		case do.Has(excache.SendDiscard):
			d.send = append(d.send, l)
		case d.pager.table.At(l).State() != excache.Zero:
			d.busy++
		}
		if do.Has(excache.DropCopy) {
			sh.held.take(l).frame.free()
			copies++
		}
	}
	return nil
}

// punched punches out the pages of lines that are Dropping.
func (d *discarding) punched() (failed error) {
	d.pager.layout.runs(d.punch, func(r run) {
		if err := d.pager.punch(r); err != nil {
			failed = err
			d.pager.fail(r.first, err)
			return
		}
		for i := range r.count {
			d.pager.evictor.dropped(d.shard, r.first+excache.Line(i), nil)
		}
	})
	return failed
}

// sent has all owners discard the lines that are Discarding, and waits.
func (d *discarding) sent() error {
	if len(d.send) == 0 {
		return nil
	}
	p := d.pager
	i, _ := p.layout.region(d.send[0])
	var at Region
	err := p.changes.begin(p.ctx, i)
	if err == nil {
		defer p.changes.end(p.layout, d.send)
		at, err = p.cfg.Placement.Region(i)
	}
	if err == nil {
		var runs []remote.Run
		for _, l := range d.send {
			_, line := p.layout.region(l)
			extendRun(&runs, line)
		}
		for _, o := range at.Owners {
			d.wg.Add(1)
			p.peers.of(o).StartDiscard(at.At, runs, d)
		}
		d.wg.Wait()
		err = d.failed
	}
	ev := excache.DiscardAcked
	if err != nil {
		ev = excache.DiscardFailed
	}
	for _, l := range d.send {
		if do := d.shard.stepOne(l, ev, policy.Demand); do != 0 {
			p.perform(job{shard: d.shard, line: l, do: do})
		}
	}
	return err
}

// WriteDone implements WriteDone.
func (d *discarding) WriteDone(err error) {
	if err != nil {
		d.mu.Lock()
		d.failed = err
		d.mu.Unlock()
	}
	d.wg.Done()
}
