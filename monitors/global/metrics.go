package global

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"splitvm/remote/api"
)

// collector asks the leader at each scrape; another global monitor only says that
// it does not lead.
type collector struct{ m *monitor }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("splitvm_global_"+name, help, labels, nil)
}

var (
	descLeads    = desc("leads", "1 on the global monitor that leads.")
	descMembers  = desc("members", "Monitors of the rack.", "role")
	descVNodes   = desc("vnodes", "vNodes by state.", "state")
	descVRegions = desc("vregions", "vRegions that have owners.")
	descVolumes  = desc("volumes", "Volumes that are placed.")
	descDegraded = desc("volumes_degraded", "Volumes of which the monitor of a replica is away or lost.")
	descCapacity = desc("memory_capacity_bytes", "Memory of all memory monitors.")
	descPromised = desc("memory_promised_bytes", "Memory that is promised to vRegions, replicas counted.")
	descEvents   = desc("events_total", "Events since the rack was made.")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	l := c.m.leader.Load()
	if l == nil {
		gauge(descLeads, 0)
		return
	}
	gauge(descLeads, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	roles, states := map[string]int{}, map[string]int{}
	capacity, promised := uint64(0), uint64(0)
	for _, m := range l.members {
		roles[roleName(m.Role)]++
		if m.Role == api.Role_ROLE_MEMORY {
			capacity += m.Capacity.GetMemoryBytes()
		}
	}
	for _, v := range l.vnodes {
		states[stateName(v.State)]++
	}
	for _, list := range l.vregions {
		for _, r := range list {
			promised += r.Bytes * uint64(len(r.Owners))
		}
	}
	for role, n := range roles {
		gauge(descMembers, float64(n), role)
	}
	for state, n := range states {
		gauge(descVNodes, float64(n), state)
	}
	gauge(descVRegions, float64(len(l.known)))
	gauge(descVolumes, float64(len(l.volumes)))
	degraded := 0
	for _, v := range l.volumes {
		if slices.ContainsFunc(v.Replicas, func(id uint64) bool { return l.members[id] == nil }) {
			degraded++
		}
	}
	gauge(descDegraded, float64(degraded))
	gauge(descCapacity, float64(capacity))
	gauge(descPromised, float64(promised))
	ch <- prometheus.MustNewConstMetric(descEvents, prometheus.CounterValue, float64(l.counts["event"]))
}

// serveMetrics serves until ctx ends, if an address is configured.
func (m *monitor) serveMetrics(ctx context.Context) error {
	if m.cfg.Metrics == "" {
		return nil
	}
	l, err := net.Listen("tcp", m.cfg.Metrics)
	if err != nil {
		return fmt.Errorf("metrics endpoint: %w", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{m})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
