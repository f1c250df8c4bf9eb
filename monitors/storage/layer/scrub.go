package layer

import "context"

// Report is what a scrub found.
type Report struct {
	Checked uint64   // blocks that hold data
	Damaged []uint64 // those that are not what was written; at most maxDamaged are listed
}

const maxDamaged = 1024

// Scrub reads every block that the layer holds, checks it, and frees what is not
// in use. It may run beside everything else.
func (l *Layer) Scrub(ctx context.Context) (Report, error) {
	var r Report
	s := new(scratch)
	err := l.eachStripe(func(first uint64, n int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		lock := l.stripe(first)
		lock.Lock()
		defer lock.Unlock()
		if err := l.check(s, &r, first, n); err != nil {
			return err
		}
		return l.punch(s.entries[:n], first, idleSlot)
	})
	return r, err
}

// check verifies the blocks of a stripe, which is held. Blocks whose entries are
// damaged keep both slots.
func (l *Layer) check(s *scratch, r *Report, first uint64, n int) error {
	if _, err := l.files.Map.ReadAt(s.raw[:n*entrySize], entryOffset(first)); err != nil {
		return err
	}
	for i := range n {
		block := first + uint64(i)
		e := &s.entries[i]
		if !e.decode(s.raw[i*entrySize:], block) {
			*e = entry{gen: maxGen}
			r.damaged(block)
			continue
		}
		if !e.cur.isSlot() {
			continue
		}
		r.Checked++
		if whole, err := l.matches(s, e, block, e.cur); err != nil || !whole {
			r.damaged(block)
			e.gen = maxGen // keep what there is
		}
	}
	return nil
}

func (r *Report) damaged(block uint64) {
	if len(r.Damaged) < maxDamaged {
		r.Damaged = append(r.Damaged, block)
	}
}

func idleSlot(e *entry, at place) bool { return e.cur != at }

// Reclaim frees the slots that are not in use.
func (l *Layer) Reclaim() error {
	s := new(scratch)
	return l.eachStripe(func(first uint64, n int) error {
		lock := l.stripe(first)
		lock.Lock()
		defer lock.Unlock()
		if err := l.load(s, first, n, false); err != nil {
			return err
		}
		return l.punch(s.entries[:n], first, idleSlot)
	})
}

// Changed calls do for each stretch of blocks, within a stripe, that was changed
// in generation since or later.
func (l *Layer) Changed(since uint64, do func(first, n uint64) error) error {
	s := new(scratch)
	return l.eachStripe(func(first uint64, n int) error {
		lock := l.stripe(first)
		lock.RLock()
		err := l.load(s, first, n, false)
		lock.RUnlock()
		if err != nil {
			return err
		}
		for from := 0; from < n; from++ {
			to := from
			for to < n && s.entries[to].cur != never && s.entries[to].gen >= since {
				to++
			}
			if to == from {
				continue
			}
			if err := do(first+uint64(from), uint64(to-from)); err != nil {
				return err
			}
			from = to
		}
		return nil
	})
}
