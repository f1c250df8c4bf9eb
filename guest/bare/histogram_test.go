package bare

import (
	"math"
	"testing"
)

func TestBuckets(t *testing.T) {
	values := []uint64{0, 1, 31, 32, 33, 63, 64, 65, 66, 127, 128, math.MaxUint64}
	for e := 7; e < 64; e++ {
		values = append(values, 1<<e-1, 1<<e, 1<<e+1, 3<<(e-1))
	}
	for _, v := range values {
		i := bucket(v)
		if i >= histogramBuckets || lower(i) > v || i+1 < histogramBuckets && lower(i+1) <= v {
			t.Errorf("%d is in bucket %d, which begins at %d", v, i, lower(i))
		}
		if m := middle(i); math.Abs(m-float64(v)) > float64(v)/subBuckets {
			t.Errorf("%d: middle of its bucket is %g", v, m)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var h Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing: %g", got)
	}
	for v := range uint64(1000) {
		h[bucket(v)]++
	}
	for _, q := range []float64{0, 0.01, 0.5, 0.99, 0.999, 1} {
		want := min(q*1000, 999)
		if got := h.Quantile(q); math.Abs(got-want) > 1+want/subBuckets {
			t.Errorf("quantile %g: %g, want %g", q, got, want)
		}
	}
	if got := h.Mean(); math.Abs(got-499.5) > 1 {
		t.Errorf("mean %g", got)
	}
	twice := h
	twice.Add(&h)
	if twice.Count() != 2*h.Count() {
		t.Errorf("%d after adding %d to itself", twice.Count(), h.Count())
	}
}
