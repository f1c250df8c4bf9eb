//go:build amd64

package micro

import (
	"cmp"
	"fmt"
	"slices"
)

// Report is all that was measured.
type Report struct {
	WorkingSet uint64   `json:"workingset"`
	Rounds     int      `json:"rounds"`
	Notes      []string `json:"notes"`
	Rows       []Row    `json:"rows"`
}

// Row is a cell: the medians of its rounds, and ratios to the same cell of
// other backends in the same run, 0 where there was none.
type Row struct {
	Cell
	Median Measurement   `json:"median"`
	Rounds []Measurement `json:"rounds"`

	ToLocal float64 `json:"to_local,omitempty"` // ratio of access times
	ToFloor float64 `json:"to_floor,omitempty"`
	ToModel float64 `json:"to_model,omitempty"`
	ToSwap  float64 `json:"to_swap,omitempty"`
}

// collector gathers the rounds in the order of the cells' first.
type collector struct {
	order  []Cell
	rounds map[Cell][]Measurement
	killed int // guests that were run again
}

func (c *collector) add(cell Cell, m Measurement) {
	if c.rounds[cell] == nil {
		c.order = append(c.order, cell)
	}
	c.rounds[cell] = append(c.rounds[cell], m)
}

func (c *collector) report(o *Options, notes []string) *Report {
	r := &Report{WorkingSet: o.WorkingSet, Rounds: o.Rounds, Notes: notes}
	cells := slices.Clone(c.order)
	slices.SortStableFunc(cells, func(a, b Cell) int {
		return cmp.Compare(slices.Index(o.Backends, a.Backend), slices.Index(o.Backends, b.Backend))
	})
	slices.SortStableFunc(cells, func(a, b Cell) int {
		return cmp.Or(
			cmp.Compare(slices.Index(o.Patterns, a.Pattern), slices.Index(o.Patterns, b.Pattern)),
			cmp.Compare(a.Writes, b.Writes), cmp.Compare(a.VCPUs, b.VCPUs), cmp.Compare(b.Cache, a.Cache))
	})
	for _, cell := range cells {
		rounds := c.rounds[cell]
		row := Row{Cell: cell, Median: median(rounds), Rounds: rounds}
		row.ToLocal = c.ratio(cell, Local)
		row.ToFloor = c.ratio(cell, Floor)
		row.ToModel = c.ratio(cell, Model)
		row.ToSwap = c.ratio(cell, Swap)
		r.Rows = append(r.Rows, row)
	}
	return r
}

// ratio is the median over the rounds of the access time's ratio to that of
// another backend in the same round: a slow moment hits both.
func (c *collector) ratio(cell Cell, to string) float64 {
	other := cell
	other.Backend = to
	mine, theirs := c.rounds[cell], c.rounds[other]
	var ratios []float64
	for i := range min(len(mine), len(theirs)) {
		if theirs[i].Access > 0 {
			ratios = append(ratios, mine[i].Access/theirs[i].Access)
		}
	}
	return middle(ratios)
}

// median is the median of each number by itself.
func median(rounds []Measurement) Measurement {
	of := func(f func(*Measurement) float64) float64 {
		var values []float64
		for i := range rounds {
			values = append(values, f(&rounds[i]))
		}
		return middle(values)
	}
	return Measurement{
		Access:    of(func(m *Measurement) float64 { return m.Access }),
		PerSecond: of(func(m *Measurement) float64 { return m.PerSecond }),
		P50:       of(func(m *Measurement) float64 { return m.P50 }),
		P99:       of(func(m *Measurement) float64 { return m.P99 }),
		P999:      of(func(m *Measurement) float64 { return m.P999 }),
		Longest:   of(func(m *Measurement) float64 { return m.Longest }),
		Misses:    of(func(m *Measurement) float64 { return m.Misses }),
		Resident:  uint64(of(func(m *Measurement) float64 { return float64(m.Resident) })),
	}
}

func middle(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// Head and Cells are the report as a table.
func (r *Report) Head() []string {
	return []string{"PATTERN", "WRITES", "VCPUS", "CACHE", "BACKEND", "us/ACCESS", "P50", "P99", "P99.9", "MISSES", "MIB/S", "xLOCAL", "xFLOOR", "xMODEL", "xSWAP"}
}

// Cells are one row for each cell; times are microseconds.
func (r *Report) Cells() [][]string {
	us := func(ns float64) string { return fmt.Sprintf("%.3g", ns/1e3) }
	times := func(x float64) string {
		if x == 0 {
			return "-"
		}
		return fmt.Sprintf("%.3g", x)
	}
	var rows [][]string
	for _, row := range r.Rows {
		m := row.Median
		unit := float64(4096)
		if row.Pattern == Stream {
			unit = streamStep
		}
		rows = append(rows, []string{
			string(row.Pattern), fmt.Sprintf("%.0f%%", 100*row.Writes), fmt.Sprint(row.VCPUs), fmt.Sprintf("%d%%", row.Cache), row.Backend,
			us(m.Access), us(m.P50), us(m.P99), us(m.P999), fmt.Sprintf("%.3f", m.Misses), fmt.Sprintf("%.4g", m.PerSecond*unit/(1<<20)),
			times(row.ToLocal), times(row.ToFloor), times(row.ToModel), times(row.ToSwap),
		})
	}
	return rows
}
