package ept

import (
	"time"

	"splitvm/ept/excache"
)

// Held copies are the second chance of lines that leave: the page is punched out,
// but the pager keeps a copy for a while, in the order of leaving. A line that
// comes back costs a fault without a message, and counts as used for the policy.

// holdTarget is how many copies a shard should keep.
func (p *Pager) holdTarget() int {
	return int(p.budget.capacity.Load()) * p.kind.HoldShare / 256 / len(p.shards)
}

// copyOf returns a copy of the line at position i of a batch, nil if it needn't
// be held.
func (e *evictor) copyOf(wb *writeBack, i int) *frame {
	if wb.zero.Has(i) || e.pager.holdTarget() == 0 {
		return nil
	}
	f := newFrame()
	copy(f.data[:], wb.batch.at(i))
	return f
}

// copyClean returns copies of lines that are Dropping, nil for those without
// backing. Their pages are write-protected, so the copies are whole.
func (e *evictor) copyClean(sh *shard, lines []excache.Line) []*frame {
	p := e.pager
	if p.holdTarget() == 0 {
		return nil
	}
	copies := make([]*frame, len(lines))
	for i, l := range lines {
		sh.mu.Lock()
		blank := p.table.At(l).Has(excache.Blank)
		sh.mu.Unlock()
		if blank {
			continue
		}
		f := newFrame()
		if err := readFull(p.cfg.Memory, f.data[:], p.layout.slotOf(l).offset(l)); err != nil {
			f.free()
			continue
		}
		copies[i] = f
	}
	return copies
}

// trimHeld gives up the oldest copies above the target.
func (e *evictor) trimHeld(sh *shard) {
	target := e.pager.holdTarget()
	if n := sh.reclaim(scanPerBatch, target); n > 0 {
		e.pager.release(int64(n))
	}
}

// pause keeps the evictor from writing for a moment after a failure.
func (e *evictor) pause(err error) {
	e.retryFrom = time.Now().Add(20 * time.Millisecond)
	time.AfterFunc(20*time.Millisecond, e.kick)
}
