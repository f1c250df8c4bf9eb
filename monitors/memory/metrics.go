package memory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"splitvm/remote"
	"splitvm/remote/server"
	"splitvm/remote/wire"
)

// collector gives the monitor's statistics to Prometheus when it asks, so that
// nothing is counted twice on the data path.
type collector struct{ m *monitor }

var _ prometheus.Collector = collector{}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("splitvm_memory_"+name, help, labels, nil)
}

var (
	descHeld     = desc("lines_held", "Lines that are held.")
	descLimit    = desc("lines_limit", "Lines that may be held.")
	descBacked   = desc("backed_bytes", "Memory that the kernel may have backed.")
	descVRegions = desc("vregions", "vRegions that are owned.")
	descConns    = desc("connections", "Connections that are open.")
	descIn       = desc("lines_written_total", "Lines written.")
	descOut      = desc("lines_read_total", "Lines sent to readers, without zero lines.")
	descGarbage  = desc("connections_garbage_total", "Connections closed because the peer broke the protocol.")
	descRefused  = desc("refused_total", "Requests refused, by reason.", "reason")
	descOps      = desc("request_seconds", "Time from a request's header to its answer.", "op")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	st, srv := c.m.stats(), c.m.server.Metrics()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(descHeld, float64(st.LinesHeld))
	gauge(descLimit, float64(st.LinesLimit))
	gauge(descBacked, float64(st.Backed))
	gauge(descVRegions, float64(st.VRegions))
	gauge(descConns, float64(srv.Connections.Load()))
	count(descIn, st.LinesIn)
	count(descOut, st.LinesOut)
	count(descGarbage, st.Garbage)
	for k := range srv.Refused {
		if n := srv.Refused[k].Load(); n > 0 {
			count(descRefused, n, remote.Kind(k).Error())
		}
	}
	for op := range wire.Ops {
		if srv.Ops[op].Count() > 0 {
			ch <- histogram(&srv.Ops[op], op.String())
		}
	}
}

func histogram(l *server.Latency, op string) prometheus.Metric {
	buckets := map[float64]uint64{}
	n := uint64(0)
	for i := range l.Buckets {
		n += l.Buckets[i].Load()
		buckets[(time.Duration(1) << i).Seconds()] = n
	}
	return prometheus.MustNewConstHistogram(descOps, n, time.Duration(l.Nanos.Load()).Seconds(), buckets, op)
}

// listenMetrics returns nil when no endpoint is configured.
func (m *monitor) listenMetrics() (net.Listener, error) {
	if m.cfg.Metrics == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", m.cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics: %w", err)
	}
	return l, nil
}

// serveMetrics serves l, which may be nil, until ctx ends.
func (m *monitor) serveMetrics(ctx context.Context, l net.Listener) error {
	if l == nil {
		return nil
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
