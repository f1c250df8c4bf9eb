package bare

import (
	"fmt"
	"math"
)

// Class is a run of ranks that zipf draws as one: Width ranks from First on.
// Together the classes are an alias table (Walker 1977): a class is drawn
// evenly, and kept if 32 random bits are below Keep, else its Alias is taken.
type Class struct {
	Keep, Alias  uint32
	First, Width uint32
}

// ClassSize is the size of a Class in guest memory, MaxClasses how many fit at
// TablesAt.
const (
	ClassSize  = 16
	MaxClasses = MaxTables / ClassSize
)

// exactRanks is how many of the first ranks have a class of their own. The
// widths of the others grow by 1/growth of their rank: inside a class all
// ranks are as likely, which is off by less than 1 %.
const (
	exactRanks = 256
	growth     = 64
)

// ZipfClasses is the table for n ranks in which rank r (from 0) has a
// probability proportional to (r+1)^-theta; YCSB has theta 0.99.
func ZipfClasses(n uint32, theta float64) ([]Class, error) {
	if n == 0 || theta < 0 || math.IsNaN(theta) || theta > 10 {
		return nil, fmt.Errorf("zipf table: %d ranks with exponent %g; want at least 1, and 0 to 10", n, theta)
	}
	var classes []Class
	var weights []float64
	var total float64
	for first := uint32(0); first < n; { // first+width does not pass n
		width := uint32(1)
		if first >= exactRanks {
			width = min(first/growth, n-first)
		}
		w := weight(first, width, theta)
		classes = append(classes, Class{First: first, Width: width})
		weights = append(weights, w)
		total += w
		first += width
	}
	alias(classes, weights, total)
	return classes, nil
}

// weight is the sum of (r+1)^-theta over the class, by the midpoint rule where
// it is wide.
func weight(first, width uint32, theta float64) float64 {
	mid := float64(first) + float64(width+1)/2
	return float64(width) * math.Pow(mid, -theta)
}

// alias fills Keep and Alias (Vose 1991).
func alias(classes []Class, weights []float64, total float64) {
	n := len(classes)
	var small, large []int
	for i := range weights {
		weights[i] *= float64(n) / total
		if weights[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		classes[s].Keep, classes[s].Alias = uint32(weights[s]*(1<<32)), uint32(l)
		if weights[l] += weights[s] - 1; weights[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		classes[i].Keep, classes[i].Alias = math.MaxUint32, uint32(i)
	}
}

// Scatter is a multiplier near the golden section of n that is prime to n: it
// spreads the ranks over n units.
func Scatter(n uint64) uint64 {
	m := max(uint64(float64(n)*0.6180339887), 1)
	for gcd(m, n) != 1 {
		m++
	}
	return m
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
