package layer

import "fmt"

// Write stores whole blocks from first on. When it returns, all reads see them;
// they are on stable storage after the next Flush. On an error each block is as
// it was or as it was to be.
func (l *Layer) Write(first uint64, data []byte) error {
	return pieces(first, uint64(len(data)/BlockSize), func(at, n uint64) error {
		return l.change(at, int(n), func(s *scratch) error {
			return l.store(s, at, data[(at-first)*BlockSize:][:n*BlockSize])
		})
	})
}

// Modify overwrites a part of a block, from byte off of it on.
func (l *Layer) Modify(block uint64, off int, data []byte, absent Absent) error {
	return l.change(block, 1, func(s *scratch) error {
		if err := l.readLocked(s, block, s.block[:], false, absent); err != nil {
			return err
		}
		copy(s.block[off:], data)
		return l.store(s, block, s.block[:])
	})
}

// change runs do with the entries of n blocks of one stripe, which it holds, in
// a generation that does not end meanwhile. It waits for a flush that is making
// any of them durable: those must stay what they are until it has returned.
func (l *Layer) change(first uint64, n int, do func(s *scratch) error) error {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for {
		if l.broken.Load() {
			return fmt.Errorf("change layer %v: %w", l.id, ErrFailed)
		}
		busy, err := l.tryChange(s, first, n, do)
		if busy == 0 || err != nil {
			return err
		}
		if err := l.await(busy); err != nil {
			return err
		}
	}
}

// tryChange returns the generation to wait for, if there is one.
func (l *Layer) tryChange(s *scratch, first uint64, n int, do func(s *scratch) error) (busy uint64, err error) {
	l.gate.RLock()
	defer l.gate.RUnlock()
	lock := l.stripe(first)
	lock.Lock()
	defer lock.Unlock()
	if err := l.load(s, first, n, false); err != nil {
		return 0, err
	}
	durable := l.durable.Load()
	for i := range n {
		if g := s.entries[i].gen; g > durable && g < l.gen {
			return g, nil
		}
	}
	l.dirty.Store(true)
	return 0, do(s)
}

// await returns when generation gen is durable.
func (l *Layer) await(gen uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.failed == nil && l.durable.Load() < gen {
		l.settled.Wait()
	}
	return l.failed
}

// store writes data to where it may be written, and then the entries.
// Preconditions: within change.
func (l *Layer) store(s *scratch, first uint64, data []byte) error {
	n := len(data) / BlockSize
	durable := l.durable.Load()
	for i := range n {
		e := &s.entries[i]
		e.cur = e.renew(l.gen, durable)
		e.sum[e.cur-slotA] = sumOf(data[i*BlockSize:][:BlockSize])
	}
	good := 0 // blocks that were stored
	err := runs(s.entries[:n], func(at place, from, to int) error {
		l.touched[at-slotA].Store(true)
		k, err := l.slot(at).WriteAt(data[from*BlockSize:to*BlockSize], blockOffset(first+uint64(from)))
		good += k / BlockSize
		return err
	})
	if saved := l.save(s, first, good); err == nil {
		err = saved
	}
	if err != nil {
		return fmt.Errorf("write %d blocks at %d: %w", n, first, err)
	}
	return nil
}

// renew makes the entry one of generation gen and returns the slot that new
// content may be written to. What is durable becomes the previous state, and is
// kept; what is volatile may be written over.
func (e *entry) renew(gen, durable uint64) place {
	if e.gen <= durable {
		e.prev = e.cur
	}
	e.gen = gen
	switch {
	case e.prev.isSlot():
		return e.prev.other()
	case e.cur.isSlot():
		return e.cur
	}
	return slotA
}
