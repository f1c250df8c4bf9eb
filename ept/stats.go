package ept

import (
	"math/bits"
	"sync/atomic"
	"time"

	"splitvm/ept/excache"
)

// stats counts what a pager does. All fields are safe for concurrent use.
type stats struct {
	Zero, Missed, Held, Waited, Upgrade, Resident, Late atomic.Uint64

	Dirty atomic.Int64

	Batches, Polled, Foreign, Starved, NoMemory, ReadErrors, WriteErrors atomic.Uint64
	Evicted, WrittenBack, ZeroLines, Hot, WriteMessages                  atomic.Uint64
	Ahead, AheadZero, AheadFailed, Opened, MarksUsed, MarksLost          atomic.Uint64

	Queue, Wire, WireAhead, Install, Miss, Minor, WriteBack Histogram
}

// count classifies a fault by the state that it found.
func (s *stats) count(was excache.Entry, ev excache.Event) {
	switch was.State() {
	case excache.Zero:
		s.Zero.Add(1)
	case excache.Remote:
		s.Missed.Add(1)
	case excache.Held:
		s.Held.Add(1)
	case excache.Fetching:
		s.Waited.Add(1)
	case excache.Clean, excache.Dirty, excache.WritingBack:
		if ev == excache.ProtectFault {
			s.Upgrade.Add(1)
		} else {
			s.Resident.Add(1)
		}
	default:
		s.Late.Add(1)
	}
}

// Histogram counts durations in buckets of an eighth of a power of two, from
// 1 ns to 2^40 ns: quantiles are right to 6 %. Its zero value is ready.
type Histogram struct {
	buckets [40 * 8]atomic.Uint64
	sum     atomic.Uint64 // ns
}

// Observe counts d.
func (h *Histogram) Observe(d time.Duration) {
	ns := uint64(max(d, 1))
	h.buckets[bucketOf(ns)].Add(1)
	h.sum.Add(ns)
}

func bucketOf(ns uint64) int {
	e := bits.Len64(ns) - 1
	m := uint64(0) // the three bits after the first
	if e >= 3 {
		m = ns >> (e - 3) & 7
	} else {
		m = ns << (3 - e) & 7
	}
	return min(e*8+int(m), 40*8-1)
}

// bucketEnd is the upper bound of a bucket in nanoseconds.
func bucketEnd(i int) float64 {
	return float64(uint64(1)<<(i/8)) * (1 + float64(i%8+1)/8)
}

// Snapshot returns the counts.
func (h *Histogram) Snapshot() Durations {
	var d Durations
	for i := range h.buckets {
		d.Buckets[i] = h.buckets[i].Load()
		d.Count += d.Buckets[i]
	}
	d.Sum = time.Duration(h.sum.Load())
	return d
}

// Durations is a Histogram at one time.
type Durations struct {
	Count   uint64
	Sum     time.Duration
	Buckets [40 * 8]uint64
}

// Quantile returns an upper bound of the q-quantile, 0 if nothing was counted.
func (d *Durations) Quantile(q float64) time.Duration {
	if d.Count == 0 {
		return 0
	}
	rank := uint64(q * float64(d.Count))
	for i, n := range d.Buckets {
		if rank < n {
			return time.Duration(bucketEnd(i))
		}
		rank -= n
	}
	return time.Duration(bucketEnd(len(d.Buckets) - 1))
}

// Mean returns the average, 0 if nothing was counted.
func (d *Durations) Mean() time.Duration {
	if d.Count == 0 {
		return 0
	}
	return d.Sum / time.Duration(d.Count)
}

// Quantiles sums up a Histogram, in nanoseconds.
type Quantiles struct {
	Count uint64 `json:"count"`
	Mean  int64  `json:"mean_ns"`
	P50   int64  `json:"p50_ns"`
	P99   int64  `json:"p99_ns"`
	P999  int64  `json:"p999_ns"`
}

func (d *Durations) quantiles() Quantiles {
	return Quantiles{d.Count, int64(d.Mean()), int64(d.Quantile(0.5)), int64(d.Quantile(0.99)), int64(d.Quantile(0.999))}
}

// Stats is what a pager did since it started, and how it stands.
type Stats struct {
	Capacity int64 `json:"capacity_lines"`
	Used     int64 `json:"used_lines"`
	Dirty    int64 `json:"dirty_lines"` // whose content no replica has yet

	Zero     uint64 `json:"faults_zero"`     // first touches, filled with zeroes
	Missed   uint64 `json:"faults_missed"`   // fetched from a monitor
	Held     uint64 `json:"faults_held"`     // served from a held copy
	Waited   uint64 `json:"faults_waited"`   // for a fetch under way
	Upgrade  uint64 `json:"faults_upgrade"`  // first write to a clean line
	Resident uint64 `json:"faults_resident"` // of lines that were there
	Late     uint64 `json:"faults_late"`     // during a transition
	Foreign  uint64 `json:"faults_foreign"`  // of addresses that aren't guest memory

	Batches       uint64 `json:"event_batches"`
	Polled        uint64 `json:"event_batches_polled"` // of them taken by who had woken the vCPU
	Starved       uint64 `json:"faults_starved"`       // waited for a free frame
	NoMemory      uint64 `json:"host_no_memory"`
	ReadErrors    uint64 `json:"read_errors"`
	WriteErrors   uint64 `json:"write_errors"`
	Evicted       uint64 `json:"lines_evicted"`
	WrittenBack   uint64 `json:"lines_written_back"`
	ZeroLines     uint64 `json:"lines_found_zero"`
	Hot           uint64 `json:"lines_hot"` // written to while they were leaving
	WriteMessages uint64 `json:"write_messages"`

	Ahead       uint64 `json:"lines_ahead"`        // fetched before they were asked for
	AheadZero   uint64 `json:"lines_ahead_zero"`   // likewise, filled with zeroes
	AheadFailed uint64 `json:"lines_ahead_failed"` // given up: no frame, or the READ failed
	Opened      uint64 `json:"lines_opened_ahead"` // made writable before they were written to
	MarksUsed   uint64 `json:"marks_used"`         // prefetches that the guest came for
	MarksLost   uint64 `json:"marks_lost"`         // and those that it didn't

	Moving *MoveProgress `json:"moving,omitempty"` // the vRegion that moves to another monitor

	Queue     Quantiles `json:"queue"`      // event read to READ sent
	Wire      Quantiles `json:"wire"`       // READ sent to payload there
	WireAhead Quantiles `json:"wire_ahead"` // likewise, of READs ahead
	Install   Quantiles `json:"install"`    // payload there to vCPU woken: copy, map, wake
	Miss      Quantiles `json:"miss"`       // event read to vCPU woken
	Minor     Quantiles `json:"minor"`      // likewise, without a message
	WriteBack Quantiles `json:"write_back"` // batch sent to acknowledged
}

// BytesRead returns how much was fetched from monitors.
func (s *Stats) BytesRead() uint64 { return (s.Missed + s.Ahead) * excache.LineSize }

// BytesWritten returns how much was written back, to each replica.
func (s *Stats) BytesWritten() uint64 { return s.WrittenBack * excache.LineSize }

// PrefetchAccuracy returns the share of prefetches that the guest came for, of
// those whose end is known; 0 if there is none.
func (s *Stats) PrefetchAccuracy() float64 {
	if s.MarksUsed == 0 {
		return 0
	}
	return float64(s.MarksUsed) / float64(s.MarksUsed+s.MarksLost)
}

// Stats returns the counters.
func (p *Pager) Stats() Stats {
	s := &p.stats
	q := func(h *Histogram) Quantiles {
		d := h.Snapshot()
		return d.quantiles()
	}
	return Stats{
		Capacity: p.budget.capacity.Load(), Used: p.budget.used.Load(), Dirty: s.Dirty.Load(),
		Zero: s.Zero.Load(), Missed: s.Missed.Load(), Held: s.Held.Load(), Waited: s.Waited.Load(),
		Upgrade: s.Upgrade.Load(), Resident: s.Resident.Load(), Late: s.Late.Load(), Foreign: s.Foreign.Load(),
		Batches: s.Batches.Load(), Polled: s.Polled.Load(), Starved: s.Starved.Load(), NoMemory: s.NoMemory.Load(),
		ReadErrors: s.ReadErrors.Load(), WriteErrors: s.WriteErrors.Load(), Evicted: s.Evicted.Load(),
		WrittenBack: s.WrittenBack.Load(), ZeroLines: s.ZeroLines.Load(), Hot: s.Hot.Load(), WriteMessages: s.WriteMessages.Load(),
		Ahead: s.Ahead.Load(), AheadZero: s.AheadZero.Load(), AheadFailed: s.AheadFailed.Load(), Opened: s.Opened.Load(),
		MarksUsed: s.MarksUsed.Load(), MarksLost: s.MarksLost.Load(), Moving: p.moveProgress(),
		Queue: q(&s.Queue), Wire: q(&s.Wire), WireAhead: q(&s.WireAhead), Install: q(&s.Install), Miss: q(&s.Miss), Minor: q(&s.Minor), WriteBack: q(&s.WriteBack),
	}
}
