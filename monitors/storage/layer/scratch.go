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
// Preconditions: the stripe is held.
func (l *Layer) load(s *scratch, first uint64, n int, now bool) error {
	raw, err := l.entries(s, first, n, now)
	if err != nil {
		return err
	}
	for i := range n {
		if !s.entries[i].decode(raw[i*entrySize:], first+uint64(i)) {
			return fmt.Errorf("layer %v: entry of block %d: %w", l.id, first+uint64(i), ErrDamaged)
		}
	}
	return nil
}

// entries returns n entries as they are in the map, from memory or from there.
func (l *Layer) entries(s *scratch, first uint64, n int, now bool) ([]byte, error) {
	stripe, at := first/stripeSize, int(first%stripeSize)
	if p := l.pages.find(stripe); p != nil {
		return p.raw[at*entrySize:], nil
	}
	if !l.pages.want(stripe) {
		raw := s.raw[:n*entrySize]
		return raw, l.readMap(raw, first, now)
	}
	p, start := &page{stripe: stripe}, stripe*stripeSize
	if err := l.readMap(p.raw[:min(stripeSize, l.blocks-start)*entrySize], start, now); err != nil {
		return nil, err
	}
	l.pages.keep(p)
	return p.raw[at*entrySize:], nil
}

// readMap reads entries from block first on.
func (l *Layer) readMap(raw []byte, first uint64, now bool) error {
	if now {
		if !l.files.Map.ReadNow(raw, entryOffset(first)) {
			return ErrWouldBlock
		}
		return nil
	}
	_, err := l.files.Map.ReadAt(raw, entryOffset(first))
	return err
}

// save writes n entries.
// Preconditions: the stripe is held alone.
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
	raw, stripe := s.raw[:n*entrySize], first/stripeSize
	if _, err := l.files.Map.WriteAt(raw, entryOffset(first)); err != nil {
		l.pages.drop(stripe) // nobody knows how much of it was written
		return err
	}
	if p := l.pages.find(stripe); p != nil {
		copy(p.raw[first%stripeSize*entrySize:], raw)
	}
	return nil
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
