package policy

import "splitvm/ept/excache"

// S3FIFO keeps new lines in a small queue, a tenth of all, and only those that
// come back after they left it in the main queue: a scan passes through without
// driving out what is used again. After S3-FIFO (Yang et al., SOSP 2023); as hits
// can't be seen, a line is promoted when it returns, not when it was hit.
type S3FIFO struct {
	small, main queue
	ghosts      ghosts
}

var _ Policy = (*S3FIFO)(nil)

// NewS3FIFO returns a policy for about capacity lines; it remembers the numbers
// of as many that left.
func NewS3FIFO(capacity int) *S3FIFO {
	return &S3FIFO{ghosts: newGhosts(max(capacity, minRing))}
}

// Insert implements Policy.
func (s *S3FIFO) Insert(l excache.Line, why Origin) {
	if why == Returned || s.ghosts.remove(uint32(l)) {
		s.main.push(l, 0)
		return
	}
	s.small.push(l, 0)
}

// Again implements Policy.
func (s *S3FIFO) Again(l excache.Line) { s.main.push(l, 0) }

// Victim implements Policy.
func (s *S3FIFO) Victim() (excache.Line, bool) {
	if s.small.n*10 > s.main.n+s.small.n || s.main.n == 0 {
		if l, ok := victim(&s.small); ok {
			s.ghosts.add(uint32(l))
			return l, true
		}
	}
	return victim(&s.main)
}

// Len implements Policy.
func (s *S3FIFO) Len() int { return s.small.n + s.main.n }

// ghosts remembers the last lines that left, 12 bytes each: a ring in order of
// leaving, and a hash set of what is in the ring and didn't return.
type ghosts struct {
	ring []uint32
	next int
	full bool
	in   map[uint32]uint32 // line to its position in ring
}

func newGhosts(n int) ghosts {
	return ghosts{ring: make([]uint32, n), in: make(map[uint32]uint32)}
}

func (g *ghosts) add(l uint32) {
	if old := g.ring[g.next]; g.full && g.in[old] == uint32(g.next) {
		delete(g.in, old)
	}
	g.ring[g.next] = l
	g.in[l] = uint32(g.next)
	if g.next++; g.next == len(g.ring) {
		g.next, g.full = 0, true
	}
}

// remove tells whether l is remembered, and forgets it.
func (g *ghosts) remove(l uint32) bool {
	_, ok := g.in[l]
	delete(g.in, l)
	return ok
}
