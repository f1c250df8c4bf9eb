package ept

import (
	"fmt"
	"time"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
)

// held is the copies of a shard's lines in state Held: the second chance of
// lines that left, and the marks of prefetched streams. A line that comes back costs a
// fault without a message. Guarded by shard.mu.
type held struct {
	copies map[excache.Line]heldCopy
	left   []excache.Line // that left, oldest first, with stale ones
	marks  []excache.Line // likewise, of marks
}

type heldCopy struct {
	frame *frame
	mark  bool
}

// maxMarks is how many marks a shard keeps; what nobody came for by then was a wrong guess.
const maxMarks = 32

// put keeps f as the copy of a line that goes to Held.
func (h *held) put(l excache.Line, f *frame, mark bool) {
	h.copies[l] = heldCopy{f, mark}
	if mark {
		h.marks = append(h.marks, l)
	} else {
		h.left = append(h.left, l)
	}
}

// take removes the copy of a line that leaves Held.
func (h *held) take(l excache.Line) heldCopy {
	c := h.copies[l]
	delete(h.copies, l)
	return c
}

// oldest removes the oldest entry of a list that is not stale.
func (h *held) oldest(list *[]excache.Line, mark bool) (excache.Line, bool) {
	for len(*list) > 0 {
		l := (*list)[0]
		*list = (*list)[1:]
		if c, ok := h.copies[l]; ok && c.mark == mark {
			return l, true
		}
	}
	return 0, false
}

// reclaim gives up the oldest held copies until n are given up or keep are left.
// It returns how many it gave up; their credits are now the caller's.
func (sh *shard) reclaim(n, keep int) int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	given := 0
	for given < n && len(sh.held.copies) > keep {
		l, ok := sh.held.oldest(&sh.held.left, false)
		if !ok && keep == 0 {
			l, ok = sh.held.oldest(&sh.held.marks, true)
		}
		if !ok || !sh.giveUp(l) {
			break
		}
		given++
	}
	return given
}

// giveUp drops the copy of a line. Preconditions: sh.mu is held, the line is Held.
func (sh *shard) giveUp(l excache.Line) bool {
	do, err := sh.step(l, excache.Reclaim, policy.Demand)
	if err != nil || !do.Has(excache.DropCopy) {
		sh.pager.broken(fmt.Errorf("give up held copy of line %#x: %w", l, err))
		return false
	}
	c := sh.held.take(l)
	c.frame.free()
	if c.mark {
		sh.faulted.Feedback(false)
		sh.pager.stats.MarksLost.Add(1)
	}
	return true
}

// trimMarks gives up marks above maxMarks, and returns how many.
func (sh *shard) trimMarks() int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	n := 0
	for len(sh.held.marks) > maxMarks {
		l, ok := sh.held.oldest(&sh.held.marks, true)
		if !ok || !sh.giveUp(l) {
			break
		}
		n++
	}
	return n
}

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
func (e *evictor) pause() {
	e.retryFrom = time.Now().Add(20 * time.Millisecond)
	time.AfterFunc(20*time.Millisecond, e.kick)
}
