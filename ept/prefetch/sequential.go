package prefetch

import "splitvm/ept/excache"

// Sequential brings the lines that follow each fault, more of them the longer
// faults go on where the last advice ended, for one stream of rising addresses.
type Sequential struct {
	s     stream
	limit limit
}

var _ Prefetcher = (*Sequential)(nil)

// NewSequential returns a Sequential.
func NewSequential() *Sequential {
	return &Sequential{s: stream{last: -1 << 40, next: -1 << 40, stride: 1}, limit: newLimit()}
}

// Feedback implements Prefetcher.
func (q *Sequential) Feedback(used bool) { q.limit.feedback(used) }

// Fault implements Prefetcher.
func (q *Sequential) Fault(l excache.Line, write bool, room int) Advice {
	line := int64(l)
	q.s.write = write
	followed := q.s.advised(line)
	if !followed {
		q.s.window = 0
	}
	q.s.last = line
	if followed && q.s.mark > line {
		return Advice{}
	}
	return q.s.advance(line, min(q.limit.max, room))
}
