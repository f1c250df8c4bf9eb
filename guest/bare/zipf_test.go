package bare

import (
	"math"
	"testing"
)

// The alias table gives each rank the probability that Zipf's law does.
func TestZipfProbabilities(t *testing.T) {
	for _, tt := range []struct {
		n     uint32
		theta float64
	}{{1, 0.99}, {7, 0.99}, {256, 1.2}, {300, 0}, {5000, 0.5}, {100_000, 0.99}, {1_000_000, 1}} {
		classes, err := ZipfClasses(tt.n, tt.theta)
		if err != nil || len(classes) > MaxClasses {
			t.Fatalf("%+v: %d classes, %v", tt, len(classes), err)
		}
		drawn := make([]float64, len(classes))
		for i, c := range classes {
			keep := float64(c.Keep) / (1 << 32)
			drawn[i] += keep / float64(len(classes))
			drawn[c.Alias] += (1 - keep) / float64(len(classes))
		}
		var total float64
		for r := range tt.n {
			total += math.Pow(float64(r+1), -tt.theta)
		}
		next := uint32(0)
		for i, c := range classes {
			if c.First != next || c.Width == 0 {
				t.Fatalf("%+v: class %d has ranks %d+%d, want them from %d", tt, i, c.First, c.Width, next)
			}
			next += c.Width
			for _, r := range []uint32{c.First, c.First + c.Width - 1} {
				want := math.Pow(float64(r+1), -tt.theta) / total
				if got := drawn[i] / float64(c.Width); math.Abs(got-want) > 0.02*want {
					t.Fatalf("%+v: rank %d has probability %g, want %g", tt, r, got, want)
				}
			}
		}
		if next != tt.n {
			t.Errorf("%+v: %d ranks", tt, next)
		}
	}
}

func TestZipfRefuses(t *testing.T) {
	for _, tt := range []struct {
		n     uint32
		theta float64
	}{{0, 1}, {10, -1}, {10, math.NaN()}, {10, math.Inf(1)}} {
		if _, err := ZipfClasses(tt.n, tt.theta); err == nil {
			t.Errorf("%+v was taken", tt)
		}
	}
}

// The largest table fits.
func TestZipfTableFits(t *testing.T) {
	classes, err := ZipfClasses(math.MaxUint32, 0.99)
	if err != nil || len(classes) > MaxClasses {
		t.Errorf("%d classes, %v", len(classes), err)
	}
}

func TestScatterReachesAll(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 10, 1000, 4096, 65537} {
		m := Scatter(n)
		seen := map[uint64]bool{}
		for r := range n {
			seen[r*m%n] = true
		}
		if uint64(len(seen)) != n {
			t.Errorf("%d ranks reach %d units", n, len(seen))
		}
	}
}
