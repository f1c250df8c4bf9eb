package memory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"splitvm/remote"
	"splitvm/remote/server"
	"splitvm/remote/threads"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// Config is a monitor as its user describes it.
type Config struct {
	Listen    []string // in the form of transport.ParseAddress
	Store     StoreConfig
	Monitor   remote.MonitorID
	Checksums bool          // agree to payload checksums
	Metrics   string        // address of the Prometheus endpoint; empty: none
	Spin      time.Duration // see server.Config
	Rack      Rack
	Log       *slog.Logger
	// Ready, if set, is called with the addresses when all are being listened on.
	Ready func(data []net.Addr, metrics net.Addr)
}

// Run serves until ctx ends, and then returns nil when all is closed; or until
// something fails.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if len(cfg.Listen) == 0 {
		return errors.New("memory monitor: no address to listen on; give --listen HOST:PORT or unix:PATH")
	}
	if err := threads.Block(spareProcs); err != nil {
		cfg.Log.Debug("memory monitor's threads", "err", err)
	}
	cfg.Store.Share = slices.ContainsFunc(cfg.Listen, func(a string) bool { return strings.HasPrefix(a, "shm:") })
	store, err := NewStore(cfg.Store)
	if err != nil {
		return fmt.Errorf("memory monitor: %w", err)
	}
	defer store.Close()
	m := newMonitor(cfg, store)
	return m.run(ctx)
}

// spareProcs is how many connections may be blocked without one waiting for the
// scheduler; a P costs some tens of KiB.
const spareProcs = 64

type monitor struct {
	cfg    Config
	store  *Store
	server *server.Server
	start  time.Time
}

func newMonitor(cfg Config, store *Store) *monitor {
	m := &monitor{cfg: cfg, store: store, start: time.Now()}
	options := wire.Options(0)
	if cfg.Checksums {
		options |= wire.OptSums
	}
	m.server = server.New(server.Config{
		Store:   store,
		Monitor: cfg.Monitor,
		Options: options,
		Spin:    cfg.Spin,
		Share:   store.Files(),
		Stats:   m.statsJSON,
		Log:     cfg.Log,
	})
	return m
}

func (m *monitor) run(ctx context.Context) error {
	listeners, err := listenAll(m.cfg.Listen)
	if err != nil {
		m.server.Close()
		return fmt.Errorf("memory monitor: %w", err)
	}
	metrics, err := m.listenMetrics()
	if err != nil {
		closeAll(listeners)
		m.server.Close()
		return fmt.Errorf("memory monitor: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		g.Go(func() error { return m.server.Serve(l) })
	}
	g.Go(func() error { return m.serveMetrics(ctx, metrics) })
	g.Go(func() error {
		<-ctx.Done()
		return m.server.Close()
	})
	g.Go(func() error { return m.join(ctx, listeners) })
	m.announce(listeners, metrics)
	err = g.Wait()
	m.cfg.Log.Info("memory monitor stopped", "lines_held", m.store.Held())
	return err
}

func (m *monitor) announce(listeners []net.Listener, metrics net.Listener) {
	var data []net.Addr
	for _, l := range listeners {
		data = append(data, l.Addr())
		m.cfg.Log.Info("memory monitor listens", "network", l.Addr().Network(), "address", l.Addr().String(),
			"lines", m.store.slab.limit, "instance", fmt.Sprintf("%x", uint64(m.server.Instance())))
	}
	var at net.Addr
	if metrics != nil {
		at = metrics.Addr()
		m.cfg.Log.Info("metrics", "url", "http://"+at.String()+"/metrics")
	}
	if m.cfg.Ready != nil {
		m.cfg.Ready(data, at)
	}
}

func listenAll(addresses []string) ([]net.Listener, error) {
	var ls []net.Listener
	for _, a := range addresses {
		l, err := transport.Listen(a)
		if err != nil {
			closeAll(ls)
			return nil, err
		}
		ls = append(ls, l)
	}
	return ls, nil
}

func closeAll(ls []net.Listener) {
	for _, l := range ls {
		l.Close()
	}
}
