package storage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"splitvm/remote"
	"splitvm/remote/blockwire"
	"splitvm/remote/wire"
)

// metrics is what the data connections count.
type metrics struct {
	registry    *prometheus.Registry
	seconds     [wire.Op(64)]prometheus.Observer // by operation; nil: not one of ours
	refused     *prometheus.CounterVec
	connections prometheus.Gauge
	read        prometheus.Counter
	written     prometheus.Counter
}

func newMetrics(dir string) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "splitvm_storage_" + name, Help: help})
	}
	count := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "splitvm_storage_" + name, Help: help})
	}
	m := &metrics{
		registry:    prometheus.NewRegistry(),
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "splitvm_storage_refused_total", Help: "Requests refused, by reason."}, []string{"reason"}),
		connections: gauge("connections", "Data connections that are open."),
		read:        count("read_bytes_total", "Bytes sent to readers."),
		written:     count("written_bytes_total", "Bytes taken from writers."),
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "splitvm_storage_request_seconds", Help: "Time from a request's header to its answer.",
		NativeHistogramBucketFactor: 1.1, Buckets: prometheus.ExponentialBuckets(10e-6, 4, 10),
	}, []string{"op"})
	for _, op := range []wire.Op{
		blockwire.Open, blockwire.Claim, blockwire.Read, blockwire.Write, blockwire.Flush, blockwire.Discard, blockwire.Zeroes, blockwire.Changed,
	} {
		m.seconds[op] = seconds.WithLabelValues(blockwire.Name(op))
	}
	free := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "splitvm_storage_free_bytes", Help: "Free space of the data directory's file system."}, func() float64 {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil {
			return 0
		}
		return float64(st.Bavail) * float64(st.Bsize)
	})
	m.registry.MustRegister(seconds, m.refused, m.connections, m.read, m.written, free)
	return m
}

// answered counts a request that was answered.
func (m *metrics) answered(r *request, err error) {
	if o := m.seconds[r.Op&63]; o != nil {
		o.Observe(time.Since(r.began).Seconds())
	}
	if err != nil {
		m.refused.WithLabelValues(remote.KindOf(err).Error()).Inc()
	}
}

// listen listens for scrapes; nil if that was not asked for.
func listenMetrics(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return l, nil
}

// serve answers scrapes until ctx ends.
func (m *metrics) serve(ctx context.Context, l net.Listener) error {
	if l == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
