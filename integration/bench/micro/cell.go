//go:build amd64

package micro

import (
	"fmt"

	"splitvm/ept"
	"splitvm/guest/bare"
)

// Pattern is an order of accesses.
type Pattern string

// The patterns. An access touches one word of a line; those of stream touch
// every 64th byte.
const (
	Random     Pattern = "random"     // any line, any word
	Zipf       Pattern = "zipf"       // by Zipf's law with exponent 0.99, any word
	Sequential Pattern = "sequential" // one line after the other
	Stride     Pattern = "stride"     // every 16th line, then those beside them
	Chase      Pattern = "chase"      // no pattern, each address depends on what was read before
	Stream     Pattern = "stream"     // all the bytes, one after the other
	First      Pattern = "first"      // one line after the other, none ever touched before
)

// Patterns lists them all.
func Patterns() []Pattern {
	return []Pattern{Random, Zipf, Sequential, Stride, Chase, Stream, First}
}

// Cell is one guest to measure.
type Cell struct {
	Backend    string  `json:"backend"`
	Pattern    Pattern `json:"pattern"`
	Writes     float64 `json:"writes"`     // share of the accesses
	VCPUs      int     `json:"vcpus"`      // each with a part of the working set
	Cache      int     `json:"cache"`      // percent of the working set
	WorkingSet uint64  `json:"workingset"` // bytes
	Accesses   uint64  `json:"accesses"`   // measured, by each vCPU; streams round up to whole passes
	Seed       uint64  `json:"seed"`
}

func (c Cell) String() string {
	return fmt.Sprintf("%s %s, %.0f %% writes, %d vCPUs, cache of %d %%", c.Backend, c.Pattern, 100*c.Writes, c.VCPUs, c.Cache)
}

// CacheLines is the number of lines that the cache holds.
func (c *Cell) CacheLines() uint64 {
	return c.WorkingSet / bare.LineSize * uint64(c.Cache) / 100
}

// Measurement is what a cell's guest found. Times are nanoseconds.
type Measurement struct {
	// Access is the time of one access, the mean over all, as the vCPU that
	// makes it sees it.
	Access float64 `json:"access_ns"`
	// PerSecond is how many accesses all vCPUs made in a second.
	PerSecond float64 `json:"accesses_per_second"`
	P50       float64 `json:"p50_ns"`
	P99       float64 `json:"p99_ns"`
	P999      float64 `json:"p999_ns"`
	Longest   float64 `json:"longest_ns"`
	// Misses is the number of faults that a handler, or swap, served, by access.
	Misses float64 `json:"misses_per_access"`
	// Resident is the guest memory at hand at the end, in bytes, where the
	// backend can tell.
	Resident uint64 `json:"resident_bytes,omitempty"`
	// Pager has the counters of splitvm's pager since its start.
	Pager *ept.Stats `json:"pager,omitempty"`
}

// Bandwidth is bytes a second that a stream moved.
func (m *Measurement) Bandwidth() float64 { return m.PerSecond * streamStep }

// streamStep is a cache line of the processor.
const streamStep = 64
