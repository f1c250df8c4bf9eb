package processor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// collector tells what runs; a vNode's own metrics are at its VMM.
type collector struct{ m *monitor }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("splitvm_processor_"+name, help, labels, nil)
}

var (
	descVNodes  = desc("vnodes", "vNodes that run.")
	descVCPUs   = desc("vcpus", "vCPUs of them.")
	descBudget  = desc("excache_budget_bytes", "ExCache of this host.")
	descExCache = desc("excache_bytes", "ExCache by vNode.", "vnode")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	used := c.m.used()
	gauge(descVNodes, float64(used.Vnodes))
	gauge(descVCPUs, float64(used.Vcpus))
	gauge(descBudget, float64(c.m.cfg.ExCache))
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	for _, r := range c.m.runs {
		gauge(descExCache, float64(r.size()), r.vnode.Spec.Name)
	}
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
