package remote

import "math/bits"

// LineSet is a set of positions 0 to MaxBatch-1 in a request's lines.
type LineSet [MaxBatch / 64]uint64

// Has tells whether position i is in the set.
func (s *LineSet) Has(i int) bool { return s[i>>6]&(1<<(i&63)) != 0 }

// Add puts position i into the set.
func (s *LineSet) Add(i int) { s[i>>6] |= 1 << (i & 63) }

// AddFirst puts the positions 0 to n-1 into the set.
func (s *LineSet) AddFirst(n int) {
	for w := range s {
		switch {
		case n >= (w+1)*64:
			s[w] = ^uint64(0)
		case n > w*64:
			s[w] |= 1<<(n-w*64) - 1
		}
	}
}

// Count returns the number of positions in the set.
func (s *LineSet) Count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// None tells whether the set is empty.
func (s *LineSet) None() bool { return *s == LineSet{} }
