package bare

import "math/bits"

// A Histogram counts durations in cycles: exact below subBuckets, then
// subBuckets buckets for each power of two, which is a resolution of 3 %.
type Histogram [histogramBuckets]uint32

const (
	subBits          = 5
	subBuckets       = 1 << subBits
	histogramBuckets = (64-subBits)*subBuckets + subBuckets // the last bucket is that of 1<<64-1
)

// bucket is where the programs count a duration.
func bucket(cycles uint64) int {
	if cycles < subBuckets {
		return int(cycles)
	}
	e := bits.Len64(cycles) - 1
	return (e-subBits)<<subBits + int(cycles>>(e-subBits))
}

// lower is the smallest duration of bucket i.
func lower(i int) uint64 {
	if i < 2*subBuckets {
		return uint64(i)
	}
	e := i>>subBits - 1
	return uint64(i-e<<subBits) << e
}

// Add counts the durations of o in h as well. Counters saturate.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o {
		if h[i] += n; h[i] < n {
			h[i] = 1<<32 - 1
		}
	}
}

// Count is the number of durations.
func (h *Histogram) Count() uint64 {
	var n uint64
	for _, c := range h {
		n += uint64(c)
	}
	return n
}

// Quantile is the duration that a share q (0 to 1) of all does not exceed, the
// middle of its bucket; 0 of an empty histogram.
func (h *Histogram) Quantile(q float64) float64 {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := uint64(min(max(q, 0), 1) * float64(total))
	rank = min(rank, total-1)
	for i, c := range h {
		if rank < uint64(c) {
			return middle(i)
		}
		rank -= uint64(c)
	}
	panic("bare: histogram changed while it was read")
}

// Mean is the average duration, from the middles of the buckets.
func (h *Histogram) Mean() float64 {
	var sum float64
	for i, c := range h {
		sum += float64(c) * middle(i)
	}
	return sum / max(float64(h.Count()), 1)
}

func middle(i int) float64 {
	low := lower(i)
	width := uint64(1)
	if i >= 2*subBuckets {
		width = 1 << (i>>subBits - 1)
	}
	return float64(low) + float64(width-1)/2
}
