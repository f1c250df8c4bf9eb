package layer

import "fmt"

// Absent fills buf with blocks from first on that a layer does not hold.
type Absent func(first uint64, buf []byte) error

// Zeroes is the Absent of a layer without a parent.
func Zeroes(_ uint64, buf []byte) error {
	clear(buf)
	return nil
}

// Read fills buf, whole blocks that are in the layer, from first on, and has
// absent fill in what was never written here. ErrDamaged if a block is not what
// was written; ErrWouldBlock, with now, if not all of it is in memory.
func (l *Layer) Read(first uint64, buf []byte, now bool, absent Absent) error {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	return pieces(first, uint64(len(buf)/BlockSize), func(at, n uint64) error {
		lock := l.stripe(at)
		lock.RLock()
		defer lock.RUnlock()
		return l.readLocked(s, at, buf[(at-first)*BlockSize:][:n*BlockSize], now, absent)
	})
}

// readLocked reads blocks of one stripe, which is held.
func (l *Layer) readLocked(s *scratch, first uint64, buf []byte, now bool, absent Absent) error {
	n := len(buf) / BlockSize
	if err := l.load(s, first, n, now); err != nil {
		return err
	}
	return runs(s.entries[:n], func(at place, from, to int) error {
		part := buf[from*BlockSize : to*BlockSize]
		switch at {
		case never:
			return absent(first+uint64(from), part)
		case zeros:
			clear(part)
			return nil
		}
		return l.readSlot(s.entries[from:to], at, first+uint64(from), part, now)
	})
}

// readSlot reads blocks that are in one slot, and checks them.
func (l *Layer) readSlot(entries []entry, at place, first uint64, buf []byte, now bool) error {
	if now {
		if !l.slot(at).ReadNow(buf, blockOffset(first)) {
			return ErrWouldBlock
		}
	} else if _, err := l.slot(at).ReadAt(buf, blockOffset(first)); err != nil {
		return err
	}
	for i := range entries {
		if sumOf(buf[i*BlockSize:][:BlockSize]) != entries[i].sumAt(at) {
			return fmt.Errorf("layer %v: block %d: %w", l.id, first+uint64(i), ErrDamaged)
		}
	}
	return nil
}
