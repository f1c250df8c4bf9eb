package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"splitvm/ept"
)

// statsTimeout bounds how long a scrape waits for the pager.
const statsTimeout = 2 * time.Second

// registry makes the vNode's counters known to Prometheus.
func (n *vnode) registry(started time.Time) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(&vnodeCollector{n: n, started: started})
	return r
}

// vnodeCollector asks the pager at each scrape.
type vnodeCollector struct {
	n       *vnode
	started time.Time
}

var vnodeLabel = []string{"vnode"}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("splitvm_"+name, help, append(vnodeLabel, labels...), nil)
}

var (
	descCPU      = desc("cpu_seconds_total", "CPU time of the VMM: vCPUs and devices.")
	descDisk     = desc("disk_bytes_total", "Bytes of all disks.", "direction")
	descNet      = desc("network_bytes_total", "Bytes of all network devices.", "direction")
	descVolDirty = desc("volume_cache_dirty_bytes", "Bytes of a volume's cache that no storage monitor has yet.", "volume")
	descVolRead  = desc("volume_cache_read_bytes_total", "Bytes that the guest read, by where they were.", "volume", "kind")
	descMemory   = desc("memory_bytes", "Guest memory.")
	descCapacity = desc("excache_capacity_lines", "Lines that the ExCache may hold.")
	descUsed     = desc("excache_used_lines", "Lines that the ExCache holds.")
	descFaults   = desc("excache_faults_total", "Faults by what served them.", "kind")
	descDirty    = desc("excache_dirty_lines", "Lines whose content no memory monitor has yet.")
	descAhead    = desc("excache_prefetched_lines_total", "Lines fetched before they were asked for.")
	descAccuracy = desc("excache_prefetch_accuracy_ratio", "Share of prefetches that the guest came for.")
	descEvicted  = desc("excache_evicted_lines_total", "Lines that left the ExCache.")
	descWritten  = desc("excache_written_back_lines_total", "Lines sent to memory monitors.")
	descBytes    = desc("excache_bytes_total", "Bytes from and to memory monitors.", "direction")
	descStage    = desc("excache_stage_seconds", "Time of each stage of serving memory.", "stage")
	descPagers   = desc("pager_restarts_total", "Pagers that died and were replaced.")
)

// Describe implements prometheus.Collector.
func (c *vnodeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descCPU, descDisk, descNet, descVolDirty, descVolRead, descMemory, descCapacity, descUsed, descDirty, descAhead, descAccuracy, descFaults, descEvicted, descWritten, descBytes, descStage, descPagers} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *vnodeCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	s, err := c.n.stats(ctx, c.started)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descFaults, err)
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{s.Name}, labels...)...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{s.Name}, labels...)...)
	}
	gauge(descMemory, float64(s.Memory))
	ch <- prometheus.MustNewConstMetric(descCPU, prometheus.CounterValue, s.CPU, s.Name)
	for d, t := range map[*prometheus.Desc]*traffic{descDisk: s.Disk, descNet: s.Net} {
		if t != nil {
			counter(d, t.In, "in")
			counter(d, t.Out, "out")
		}
	}
	for _, v := range s.Caches {
		gauge(descVolDirty, float64(v.Dirty), v.Volume)
		counter(descVolRead, v.Hit, v.Volume, "hit")
		counter(descVolRead, v.Missed, v.Volume, "miss")
	}
	e := s.ExCache
	if e == nil {
		return
	}
	gauge(descCapacity, float64(e.Capacity))
	gauge(descUsed, float64(e.Used))
	counter(descPagers, uint64(s.Pagers))
	gauge(descDirty, float64(e.Dirty))
	gauge(descAccuracy, e.Accuracy)
	counter(descAhead, e.Ahead)
	counter(descEvicted, e.Evicted)
	counter(descWritten, e.WrittenBack)
	counter(descBytes, e.Read, "read")
	counter(descBytes, e.Written, "written")
	for _, k := range faultKinds(e.Stats) {
		counter(descFaults, k.count, k.name)
	}
	for _, st := range stages(e.Stats) {
		ch <- prometheus.MustNewConstSummary(descStage, st.q.Count, seconds(st.q.Mean)*float64(st.q.Count), map[float64]float64{
			0.5: seconds(st.q.P50), 0.99: seconds(st.q.P99), 0.999: seconds(st.q.P999),
		}, s.Name, st.name)
	}
}

func seconds(ns int64) float64 { return time.Duration(ns).Seconds() }

type faultKind struct {
	name  string
	count uint64
	means string
}

// faultKinds lists the pager's faults by what served them.
func faultKinds(e *ept.Stats) []faultKind {
	return []faultKind{
		{"zero", e.Zero, "never written: filled with zeroes here"},
		{"miss", e.Missed, "fetched from a memory monitor"},
		{"held", e.Held, "a copy was still here"},
		{"waited", e.Waited, "a fetch was under way"},
		{"upgrade", e.Upgrade, "first write to a clean line"},
		{"resident", e.Resident, "was there already"},
		{"late", e.Late, "while the line was leaving"},
	}
}

type stage struct {
	name string
	q    ept.Quantiles
}

// stages lists the timed steps of serving memory.
func stages(e *ept.Stats) []stage {
	return []stage{{"queue", e.Queue}, {"wire", e.Wire}, {"wire-ahead", e.WireAhead}, {"install", e.Install}, {"miss", e.Miss}, {"minor", e.Minor}, {"write-back", e.WriteBack}}
}
