package bench

import (
	"fmt"
	"slices"
)

// Summary describes a set of measurements in their unit.
type Summary struct {
	N    int     `json:"n"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
}

// Summarize sorts the values.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	slices.Sort(values)
	var sum float64
	for _, v := range values {
		sum += v
	}
	at := func(q float64) float64 { return values[min(int(q*float64(len(values))), len(values)-1)] }
	return Summary{N: len(values), P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: values[len(values)-1], Mean: sum / float64(len(values))}
}

// Cells are the summary as a table shows it: p50, p90, p99, most.
func (s Summary) Cells() []string {
	var cells []string
	for _, v := range []float64{s.P50, s.P90, s.P99, s.Max} {
		cells = append(cells, fmt.Sprintf("%.1f", v))
	}
	return cells
}
