package memory

import (
	"encoding/json"
	"fmt"
	"time"

	"splitvm/remote"
	"splitvm/remote/server"
	"splitvm/remote/wire"
)

// Held returns how many lines are held.
func (s *Store) Held() int64 { return s.slab.held.Load() }

// Stats are a monitor's statistics, as STATS answers them in JSON.
type Stats struct {
	Monitor    remote.MonitorID   `json:"monitor"`
	Instance   remote.InstanceID  `json:"instance"`
	Uptime     float64            `json:"uptime_seconds"`
	VRegions   int                `json:"vregions"`
	LinesHeld  int64              `json:"lines_held"`
	LinesLimit int64              `json:"lines_limit"`
	BytesHeld  int64              `json:"bytes_held"`
	Backed     int64              `json:"bytes_backed"` // held, warm, spare and under way
	LinesIn    uint64             `json:"lines_written"`
	LinesOut   uint64             `json:"lines_read"` // and sent, without those that clients on shm: read themselves
	Conns      int64              `json:"connections"`
	Garbage    uint64             `json:"connections_garbage"`
	Refused    map[string]uint64  `json:"refused,omitempty"` // by kind
	Ops        map[string]OpStats `json:"ops"`
}

// OpStats are the statistics of one operation: its time is from the header's
// arrival, including the payload's, to the queueing of the answer.
type OpStats struct {
	Count uint64        `json:"count"`
	Mean  time.Duration `json:"mean_ns"`
	P50   time.Duration `json:"p50_ns"` // upper bounds of power-of-two buckets
	P99   time.Duration `json:"p99_ns"`
}

// backed returns how many frames have, or had and still may have, memory.
func (s *slab) backed() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.fresh) - 1 - int64(len(s.clean))
}

func (m *monitor) stats() Stats {
	srv := m.server.Metrics()
	held := m.store.Held()
	st := Stats{
		Monitor:    m.cfg.Monitor,
		Instance:   m.server.Instance(),
		Uptime:     time.Since(m.start).Seconds(),
		VRegions:   len(*m.store.vregions.Load()),
		LinesHeld:  held,
		LinesLimit: m.store.slab.limit,
		BytesHeld:  held * remote.LineSize,
		Backed:     m.store.slab.backed() * remote.LineSize,
		LinesIn:    srv.LinesIn.Load(),
		LinesOut:   srv.LinesOut.Load(),
		Conns:      srv.Connections.Load(),
		Garbage:    srv.Garbage.Load(),
		Refused:    map[string]uint64{},
		Ops:        map[string]OpStats{},
	}
	for k := range srv.Refused {
		if n := srv.Refused[k].Load(); n > 0 {
			st.Refused[remote.Kind(k).Error()] = n
		}
	}
	for op := range wire.Ops {
		if o := opStats(&srv.Ops[op]); o.Count > 0 {
			st.Ops[op.String()] = o
		}
	}
	return st
}

func opStats(l *server.Latency) OpStats {
	n := l.Count()
	if n == 0 {
		return OpStats{}
	}
	return OpStats{
		Count: n,
		Mean:  time.Duration(l.Nanos.Load() / n),
		P50:   l.Quantile(0.5),
		P99:   l.Quantile(0.99),
	}
}

func (m *monitor) statsJSON() ([]byte, error) {
	b, err := json.Marshal(m.stats())
	if err != nil {
		return nil, fmt.Errorf("statistics as JSON: %w", err)
	}
	return b, nil
}
