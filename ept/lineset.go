package ept

import (
	"math/bits"

	"splitvm/remote"
)

// lineSet is a set of lines of one vRegion.
type lineSet []uint64

func newLineSet(lines uint32) lineSet { return make(lineSet, (lines+63)/64) }

func (s lineSet) set(l remote.Line)      { s[l/64] |= 1 << (l % 64) }
func (s lineSet) clear(l remote.Line)    { s[l/64] &^= 1 << (l % 64) }
func (s lineSet) has(l remote.Line) bool { return s[l/64]&(1<<(l%64)) != 0 }

func (s lineSet) count() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// next returns the first line from l on that is in s and not in but; false if
// there is none.
func (s lineSet) next(l remote.Line, but lineSet) (remote.Line, bool) {
	for w := int(l / 64); w < len(s); w++ {
		word := s[w] &^ but[w]
		if w == int(l/64) {
			word &^= 1<<(l%64) - 1
		}
		if word != 0 {
			return remote.Line(w*64 + bits.TrailingZeros64(word)), true
		}
	}
	return 0, false
}
