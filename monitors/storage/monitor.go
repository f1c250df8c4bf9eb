package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"splitvm/remote/threads"
	"splitvm/remote/transport"
	"splitvm/remote/volumes"
)

// Config is a monitor as its user describes it.
type Config struct {
	Listen  []string // HOST:PORT or unix:PATH, for data and control
	Data    string   // directory
	Metrics string   // address of the Prometheus endpoint; empty: none
	Rack    Rack
	Log     *slog.Logger
	// Ready, if set, is called with the addresses when all are being listened on.
	Ready func([]net.Addr)
}

// spareProcs is how many connections may be blocked without one waiting for the
// scheduler; a P costs some tens of KiB.
const spareProcs = 64

// Run serves until ctx ends, and then returns nil when all is closed; or until
// something fails.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if len(cfg.Listen) == 0 {
		return errors.New("storage monitor: no address to listen on; give --listen HOST:PORT or unix:PATH")
	}
	if err := threads.Block(spareProcs); err != nil {
		cfg.Log.Debug("the runtime's timers stay exact, at the cost of some CPU time", "err", err)
	}
	store, err := OpenStore(cfg.Data)
	if err != nil {
		return fmt.Errorf("storage monitor: %w", err)
	}
	err = serve(ctx, cfg, store)
	if closed := store.Close(); closed != nil {
		err = errors.Join(err, fmt.Errorf("storage monitor: %w", closed))
	}
	return err
}

func serve(ctx context.Context, cfg Config, store *Store) error {
	listeners, err := listen(cfg.Listen)
	if err != nil {
		return fmt.Errorf("storage monitor: %w", err)
	}
	data, control := newDataServer(store, cfg.Log), grpc.NewServer(grpc.WaitForHandlers(true))
	volumes.Register(control, store)
	reflection.Register(control)
	scrapes, err := listenMetrics(cfg.Metrics)
	if err != nil {
		closeAll(listeners)
		return fmt.Errorf("storage monitor: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	var addrs []net.Addr
	for _, l := range listeners {
		d := newDoor(l, data.serve, cfg.Log)
		g.Go(d.run)
		g.Go(func() error { return control.Serve(d) })
		addrs = append(addrs, l.Addr())
		cfg.Log.Info("storage monitor listens", "network", l.Addr().Network(), "address", l.Addr().String(),
			"data", cfg.Data, "monitor", store.Monitor().String())
	}
	g.Go(func() error { return data.metrics.serve(ctx, scrapes) })
	if scrapes != nil {
		cfg.Log.Info("metrics", "url", "http://"+scrapes.Addr().String()+"/metrics")
	}
	g.Go(func() error {
		<-ctx.Done()
		control.Stop() // which closes the doors, and so the listeners
		data.close()
		return nil
	})
	g.Go(func() error { return join(ctx, cfg, store, addrs) })
	if cfg.Ready != nil {
		cfg.Ready(addrs)
	}
	err = g.Wait()
	cfg.Log.Info("storage monitor stopped")
	return err
}

func listen(addresses []string) ([]net.Listener, error) {
	var list []net.Listener
	for _, a := range addresses {
		l, err := listenOne(a)
		if err != nil {
			closeAll(list)
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

func closeAll(list []net.Listener) {
	for _, l := range list {
		l.Close()
	}
}

func listenOne(address string) (net.Listener, error) {
	network, _, err := transport.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	if network == "shm" {
		return nil, fmt.Errorf("listen on %s: a storage monitor listens on HOST:PORT or unix:PATH", address)
	}
	return transport.Listen(address)
}
