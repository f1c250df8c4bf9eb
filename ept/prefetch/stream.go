package prefetch

import "splitvm/ept/excache"

// stream is a sequence of faults that seem to belong together.
type stream struct {
	last   int64 // line of the latest fault
	next   int64 // the line after those that were advised, along the stride
	mark   int64
	stride int64 // 0: no trend yet
	window int   // lines of the latest advice; 0: none yet
	write  bool
	deltas history
	used   uint64 // when it was last used
}

const (
	// near is how far from a stream's last fault, or its advised lines, one may
	// be and belong to it.
	near = 64
	// firstWindow is how many lines the first advice of a stream has.
	firstWindow = 8
)

// belongs tells whether a fault on l may be of the stream.
func (s *stream) belongs(l int64) bool {
	return abs(l-s.last) <= near || abs(l-s.next) <= near || s.advised(l)
}

// advised tells whether l is one of the lines of the latest advices that the
// stream has still before it, or the next one.
func (s *stream) advised(l int64) bool {
	if s.window == 0 || (l-s.last)%s.stride != 0 {
		return false
	}
	ahead, behind := (s.next-l)*sign(s.stride), (l-s.last)*sign(s.stride)
	return ahead >= 0 && behind > 0
}

// advance returns the next advice for a stream whose guest has reached l: up
// to limit lines beyond those that were advised before; nothing if that is
// too little for a mark in the middle.
func (s *stream) advance(l int64, limit int) Advice {
	if limit < 2 {
		return Advice{}
	}
	window := min(max(2*s.window, firstWindow), limit)
	if gap := (s.next - l) * sign(s.stride); s.window == 0 || gap < 0 || gap > 2*MaxWindow*abs(s.stride) {
		s.next = l + s.stride // it begins here, or has jumped
	}
	a := Advice{First: excache.Line(s.next), Stride: s.stride, Count: window, Mark: window / 2, Write: s.write}
	if s.next < 0 {
		return Advice{}
	}
	s.mark = s.next + int64(a.Mark)*s.stride
	s.next += int64(window) * s.stride
	s.window = window
	return a
}

func sign(v int64) int64 {
	if v < 0 {
		return -1
	}
	return 1
}

func abs(v int64) int64 { return v * sign(v) }

// history is the latest differences between faults of a stream.
type history struct {
	d [8]int64
	n int // how many there were
}

func (h *history) add(delta int64) {
	h.d[h.n%len(h.d)] = delta
	h.n++
}

// majority returns the difference that more than half of the latest have, by
// Boyer and Moore's vote; false if there is none. It looks at the last two
// first, then at the last four, then at all, so that a trend is seen early and a
// changed one soon (Leap, ATC 2020).
func (h *history) majority() (int64, bool) {
	for _, k := range [...]int{2, 4, len(h.d)} {
		if h.n < k {
			return 0, false
		}
		var candidate int64
		votes, count := 0, 0
		for i := 1; i <= k; i++ {
			switch d := h.d[(h.n-i)%len(h.d)]; {
			case votes == 0:
				candidate, votes = d, 1
			case d == candidate:
				votes++
			default:
				votes--
			}
		}
		for i := 1; i <= k; i++ {
			if h.d[(h.n-i)%len(h.d)] == candidate {
				count++
			}
		}
		if 2*count > k && candidate != 0 {
			return candidate, true
		}
	}
	return 0, false
}
