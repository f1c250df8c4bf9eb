package layer

import "errors"

// eachStripe calls do for each stripe whose entries may be other than zero.
func (l *Layer) eachStripe(do func(first uint64, n int) error) error {
	for first := uint64(0); first < l.blocks; {
		at, _, err := l.files.Map.Data(entryOffset(first))
		if err != nil {
			return err
		}
		first = max(first, entryBlock(at)&^(stripeSize-1))
		if first >= l.blocks {
			return nil
		}
		n := min(stripeSize, l.blocks-first)
		if err := do(first, int(n)); err != nil {
			return err
		}
		first += n
	}
	return nil
}

// recover decides for each block that was written after the last flush that is
// known of whether the write is whole, and goes back to the flushed state where
// it is not. Afterwards everything is durable.
func (l *Layer) recover() error {
	s := new(scratch)
	err := l.eachStripe(func(first uint64, n int) error { return l.recoverStripe(s, first, n) })
	if err != nil {
		return err
	}
	for _, f := range l.files.list() {
		err = errors.Join(err, f.Sync())
	}
	return err
}

func (l *Layer) recoverStripe(s *scratch, first uint64, n int) error {
	if _, err := l.files.Map.ReadAt(s.raw[:n*entrySize], entryOffset(first)); err != nil {
		return err
	}
	for i := range n {
		block := first + uint64(i)
		raw := s.raw[i*entrySize:][:entrySize]
		e := &s.entries[i]
		if !e.decode(raw, block) || e.gen <= l.head.durable || !e.cur.isSlot() {
			continue
		}
		whole, err := l.matches(s, e, block, e.cur)
		if err != nil {
			return err
		}
		if whole {
			continue
		}
		// The last generation that counts as durable when this is over: the next write
		// must keep what it finds, of which there is no other copy.
		e.cur, e.prev, e.gen = e.prev, never, l.gen-1
		if e.cur == never {
			*e = entry{}
			clear(raw)
		} else {
			e.encode(raw, block)
		}
		if _, err := l.files.Map.WriteAt(raw, entryOffset(block)); err != nil {
			return err
		}
	}
	return nil
}

// matches tells whether slot at of the block holds what the entry says.
func (l *Layer) matches(s *scratch, e *entry, block uint64, at place) (bool, error) {
	if _, err := l.slot(at).ReadAt(s.block[:], blockOffset(block)); err != nil {
		return false, err
	}
	return sumOf(s.block[:]) == e.sumAt(at), nil
}
