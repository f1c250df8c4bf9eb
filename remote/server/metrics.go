package server

import (
	"math/bits"
	"sync/atomic"
	"time"

	"splitvm/remote"
	"splitvm/remote/wire"
)

// Metrics are a server's counters since it was made. All fields may be read at
// any time.
type Metrics struct {
	LinesIn  atomic.Uint64 // lines written
	LinesOut atomic.Uint64 // lines sent in answers to reads, without zero lines
	Garbage  atomic.Uint64 // connections closed because the peer broke the protocol
	Refused  [32]atomic.Uint64
	Ops      [wire.Ops]Latency

	Connections atomic.Int64 // now
}

// Latency is a histogram of durations: bucket i counts those of less than 2^i
// nanoseconds that no lower bucket counts. It is not locked: a snapshot taken
// while it is written may be a few counts off.
type Latency struct {
	Buckets [40]atomic.Uint64
	Nanos   atomic.Uint64 // sum
}

func (m *Metrics) observe(op wire.Op, d time.Duration) {
	if op >= wire.Ops {
		op = 0
	}
	l := &m.Ops[op]
	l.Buckets[min(bits.Len64(uint64(d)), len(l.Buckets)-1)].Add(1)
	l.Nanos.Add(uint64(d))
}

func (m *Metrics) refused(k remote.Kind) {
	m.Refused[min(int(k), len(m.Refused)-1)].Add(1)
}

// Count returns how many durations were observed.
func (l *Latency) Count() uint64 {
	n := uint64(0)
	for i := range l.Buckets {
		n += l.Buckets[i].Load()
	}
	return n
}

// Quantile returns the upper bound of the bucket in which the quantile q lies.
func (l *Latency) Quantile(q float64) time.Duration {
	want := uint64(q * float64(l.Count()))
	seen := uint64(0)
	for i := range l.Buckets {
		if seen += l.Buckets[i].Load(); seen > want {
			return time.Duration(1) << i
		}
	}
	return 0
}
