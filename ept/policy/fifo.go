package policy

import "splitvm/ept/excache"

// maxChances bounds what a line can collect, so that Victim ends soon.
const maxChances = 1

// FIFO evicts in the order of arrival, and gives a line that came back after
// it had left one more round: the FIFO with second chance, where the reference
// bit is the return. With few lines held back it is LegoOS's FIFO; with a
// quarter of the ExCache held back it approximates LRU (the segmented FIFO of Turner
// and Levy, SIGMETRICS 1981).
type FIFO struct {
	q queue
}

var _ Policy = (*FIFO)(nil)

// Insert implements Policy.
func (f *FIFO) Insert(l excache.Line, why Origin) {
	chances := uint8(0)
	if why == Returned {
		chances = maxChances
	}
	f.q.push(l, chances)
}

// Again implements Policy.
func (f *FIFO) Again(l excache.Line) { f.q.push(l, 0) }

// Victim implements Policy.
func (f *FIFO) Victim() (excache.Line, bool) {
	return victim(&f.q)
}

// victim returns the oldest line of q without chances left. Each round uses up a
// chance, so it ends after at most maxChances rounds.
func victim(q *queue) (excache.Line, bool) {
	for {
		it, ok := q.pop()
		if !ok {
			return 0, false
		}
		if it.chances == 0 {
			return excache.Line(it.line), true
		}
		q.push(excache.Line(it.line), it.chances-1)
	}
}

// Len implements Policy.
func (f *FIFO) Len() int { return f.q.n }
