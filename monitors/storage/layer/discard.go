package layer

// maxDiscarded bounds the list of what is to be freed after the next flush; what
// is dropped from it is found by Reclaim.
const maxDiscarded = 4096

// Zero makes n blocks from first on read as zeroes, and frees them after the
// next flush. If the layer has no parent, blocks that were never written are left
// alone.
func (l *Layer) Zero(first, n uint64, hasParent bool) error {
	end := first + n
	for first < end {
		if !hasParent {
			at, _, err := l.files.Map.Data(entryOffset(first))
			if err != nil {
				return err
			}
			first = max(first, entryBlock(at))
			if first >= end {
				return nil
			}
		}
		k := min(end-first, stripeSize-first%stripeSize)
		if err := l.zeroStripe(first, k, hasParent); err != nil {
			return err
		}
		first += k
	}
	return nil
}

func (l *Layer) zeroStripe(first, n uint64, hasParent bool) error {
	return l.change(first, int(n), func(s *scratch) error {
		durable, changed := l.durable.Load(), false
		for i := range s.entries[:n] {
			e := &s.entries[i]
			if e.cur == zeros || e.cur == never && !hasParent {
				continue
			}
			e.renew(l.gen, durable)
			e.cur, changed = zeros, true
		}
		if !changed {
			return nil
		}
		l.noteDiscarded(span{first, n})
		return l.save(s, first, int(n))
	})
}

func (l *Layer) noteDiscarded(s span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := len(l.discarded); k > 0 {
		if last := &l.discarded[k-1]; last.first+last.n == s.first {
			last.n += s.n
			return
		}
		if k == maxDiscarded {
			return
		}
	}
	l.discarded = append(l.discarded, s)
}

// free gives the space of discarded blocks back, as far as their state is durable
// and the file system does it.
func (l *Layer) free(list []span) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for _, d := range list {
		pieces(d.first, d.n, func(first, n uint64) error {
			lock := l.stripe(first)
			lock.Lock()
			defer lock.Unlock()
			if l.load(s, first, int(n), false) == nil {
				l.punch(s.entries[:n], first, func(e *entry, at place) bool { return e.cur == zeros })
			}
			return nil
		})
	}
}

// punch frees, in each slot, the blocks for which idle says that the slot is not
// in use, as far as their state is durable.
// Preconditions: the stripe is held, nobody writes.
func (l *Layer) punch(entries []entry, first uint64, idle func(e *entry, at place) bool) error {
	durable := l.durable.Load()
	for _, at := range []place{slotA, slotB} {
		for from := 0; from < len(entries); from++ {
			to := from
			for to < len(entries) && entries[to].gen <= durable && idle(&entries[to], at) {
				to++
			}
			if to == from {
				continue
			}
			if err := l.slot(at).Punch(blockOffset(first+uint64(from)), int64(to-from)*BlockSize); err != nil {
				return err
			}
			from = to
		}
	}
	return nil
}
