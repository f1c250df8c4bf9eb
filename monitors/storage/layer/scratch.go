package layer

import (
	"fmt"
	"sync"
)

// scratch holds the entries of up to a stripe of blocks.
type scratch struct {
	raw     [stripeSize * entrySize]byte
	entries [stripeSize]entry
	block   [BlockSize]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// load reads the entries of n blocks. With now it does not wait for the disk.
func (l *Layer) load(s *scratch, first uint64, n int, now bool) error {
	raw := s.raw[:n*entrySize]
	if now {
		if !l.files.Map.ReadNow(raw, entryOffset(first)) {
			return ErrWouldBlock
		}
	} else if _, err := l.files.Map.ReadAt(raw, entryOffset(first)); err != nil {
		return err
	}
	for i := range n {
		if !s.entries[i].decode(raw[i*entrySize:], first+uint64(i)) {
			return fmt.Errorf("layer %v: entry of block %d: %w", l.id, first+uint64(i), ErrDamaged)
		}
	}
	return nil
}

// save writes n entries.
func (l *Layer) save(s *scratch, first uint64, n int) error {
	if n == 0 {
		return nil
	}
	for i := range n {
		if e := &s.entries[i]; *e == (entry{}) {
			clear(s.raw[i*entrySize:][:entrySize])
		} else {
			e.encode(s.raw[i*entrySize:], first+uint64(i))
		}
	}
	l.touched[2].Store(true)
	_, err := l.files.Map.WriteAt(s.raw[:n*entrySize], entryOffset(first))
	return err
}

func (l *Layer) slot(p place) File {
	if p == slotA {
		return l.files.A
	}
	return l.files.B
}

func (l *Layer) stripe(block uint64) *sync.RWMutex {
	return &l.stripes[block/stripeSize%stripeCount]
}

// pieces calls do for the parts of n blocks that are in one stripe each.
func pieces(first, n uint64, do func(first, n uint64) error) error {
	for n > 0 {
		k := min(n, stripeSize-first%stripeSize)
		if err := do(first, k); err != nil {
			return err
		}
		first, n = first+k, n-k
	}
	return nil
}

// runs calls do for each stretch of entries with the same current place.
func runs(entries []entry, do func(at place, from, to int) error) error {
	for from := 0; from < len(entries); {
		to := from + 1
		for to < len(entries) && entries[to].cur == entries[from].cur {
			to++
		}
		if err := do(entries[from].cur, from, to); err != nil {
			return err
		}
		from = to
	}
	return nil
}
