package policy

import "splitvm/ept/excache"

// item is a line in a queue: 8 bytes per resident line. A line's number has 32
// bits (excache.MaxLines).
type item struct {
	line    uint32
	chances uint8 // how often it may go back to the end
}

// queue is a FIFO ring that grows and shrinks.
type queue struct {
	ring []item // length is a power of two
	head int    // of the oldest
	n    int
}

const minRing = 64

func (q *queue) push(l excache.Line, chances uint8) {
	if q.n == len(q.ring) {
		q.resize(max(minRing, 2*q.n))
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = item{uint32(l), chances}
	q.n++
}

func (q *queue) pop() (item, bool) {
	if q.n == 0 {
		return item{}, false
	}
	it := q.ring[q.head]
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	if q.n <= len(q.ring)/8 && len(q.ring) > minRing {
		q.resize(len(q.ring) / 2)
	}
	return it, true
}

func (q *queue) resize(size int) {
	ring := make([]item, size)
	for i := range q.n {
		ring[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
	}
	q.ring, q.head = ring, 0
}
