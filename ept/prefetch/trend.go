package prefetch

import "splitvm/ept/excache"

// maxStreams is how many streams are followed at a time.
const maxStreams = 16

// Trend follows several streams at once, with any stride. A fault belongs to the
// stream that it is nearest to; what is near none is looked at together, as one
// more stream, so that long strides show as well. A stream advises once most of
// its latest faults are the same distance apart.
type Trend struct {
	streams [maxStreams]stream
	far     stream // of faults that are near no stream
	faults  uint64
	limit   limit
}

var _ Prefetcher = (*Trend)(nil)

// NewTrend returns a Trend without streams.
func NewTrend() *Trend {
	t := &Trend{limit: newLimit()}
	for i := range t.streams {
		t.streams[i].last, t.streams[i].next = -1<<40, -1<<40
	}
	return t
}

// Feedback implements Prefetcher.
func (t *Trend) Feedback(used bool) { t.limit.feedback(used) }

// Fault implements Prefetcher.
func (t *Trend) Fault(l excache.Line, write bool, room int) Advice {
	t.faults++
	line := int64(l)
	if t.far.advised(line) {
		return t.goOn(&t.far, line, write, room)
	}
	s := t.find(line)
	if s == nil {
		s = t.oldest()
		*s = stream{last: line, next: line, write: write, used: t.faults}
		return t.goOn(&t.far, line, write, room)
	}
	return t.goOn(s, line, write, room)
}

// find returns the stream that line belongs to, the nearest one if there are several.
func (t *Trend) find(line int64) *stream {
	var best *stream
	for i := range t.streams {
		s := &t.streams[i]
		if s.used == 0 || !s.belongs(line) {
			continue
		}
		if best == nil || abs(line-s.last) < abs(line-best.last) {
			best = s
		}
	}
	return best
}

func (t *Trend) oldest() *stream {
	best := &t.streams[0]
	for i := range t.streams {
		if t.streams[i].used < best.used {
			best = &t.streams[i]
		}
	}
	return best
}

// goOn moves the stream to a fault and advises if it has a trend.
func (t *Trend) goOn(s *stream, line int64, write bool, room int) Advice {
	s.used, s.write = t.faults, write
	followed := s.advised(line)
	if !followed {
		s.deltas.add(line - s.last)
		stride, ok := s.deltas.majority()
		if !ok || stride != s.stride {
			s.window = 0
		}
		s.stride = stride
		if !ok {
			s.last, s.next = line, line
			return Advice{}
		}
	}
	s.last = line
	if followed && (s.mark-line)*sign(s.stride) > 0 {
		return Advice{} // something before the mark was not there: no news
	}
	return s.advance(line, min(t.limit.max, room))
}
