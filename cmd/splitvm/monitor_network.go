package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"splitvm/monitors/network/host"
)

// networkSocket is where a host's networks are joined, unless told otherwise.
// Its name has no ".sock", which is vNodes'.
func networkSocket() string { return filepath.Join(runDir(), "network") }

func monitorNetworkCommand() *cli.Command {
	return &cli.Command{
		Name:  "network",
		Usage: "have virtual networks for this host's vNodes",
		Description: `Named networks on which the vNodes of this host reach each other, by address and
by name, and the outside by NAT; networks do not reach each other. No privileges
are needed. (Those of a rack's vNodes need no command: each processor monitor starts
them, and joins them with those of the same name on other hosts.)

Example:
   splitvm monitor network &
   splitvm run --net user,network=front --name web1 ... &
   splitvm run --net user,network=front --name web2 ... -- ping web1`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "socket", Value: networkSocket(), Usage: "Unix socket `PATH` that vNodes join by"},
			&cli.StringFlag{Name: "range", Value: host.DefaultRange.String(), Usage: "`ADDR/LEN` of which each network gets a /24; on a rack, of each network"},
			&cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics at http://`HOST:PORT`/metrics"},
			&cli.StringFlag{Name: "processor", Hidden: true, Usage: "the networks are those of the rack's vNodes at the processor monitor whose data are in `DIR`"},
			&cli.StringFlag{Name: "mesh", Hidden: true, Usage: "take other hosts' frames at `HOST:PORT`"},
			&cli.StringSliceFlag{Name: "global", Hidden: true, Usage: "the rack's global monitor at `HOST:PORT`"},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			within, err := netip.ParsePrefix(c.String("range"))
			if err != nil {
				return &exitError{exitUsage, fmt.Errorf("monitor network: range: %w", err)}
			}
			cfg := host.Config{Range: within, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
			serve := func(ctx context.Context) error {
				h, err := host.New(cfg)
				if err != nil {
					return err
				}
				return withMetrics(ctx, c.String("metrics"), []prometheus.Collector{h}, func(ctx context.Context) error {
					return serveNetworks(ctx, c.String("socket"), h, cfg.Log)
				})
			}
			if dir := c.String("processor"); dir != "" {
				n := rackNetworks{dir: dir, socket: c.String("socket"), mesh: c.String("mesh"), globals: globals(c), cfg: cfg, look: aloneLook, metrics: c.String("metrics")}
				serve = n.serve
			}
			if err := serve(ctx); err != nil {
				return fmt.Errorf("monitor network: %w", err)
			}
			return nil
		},
	}
}

// serveNetworks has networks until ctx is done.
func serveNetworks(ctx context.Context, path string, h *host.Networks, log *slog.Logger) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if abandoned(path) {
		os.Remove(path)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { l.Close(); h.Close() })
	defer stop()
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	log.Info("networks", "socket", path)
	return errors.Join(h.Serve(l), h.Close())
}

// withMetrics serves metrics at an address, unless that is empty, while do runs.
func withMetrics(ctx context.Context, address string, of []prometheus.Collector, do func(context.Context) error) error {
	if address == "" {
		return do(ctx)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("metrics endpoint: %w", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(of...)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, func() { srv.Close() })
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve metrics: %w", err)
		}
		return nil
	})
	g.Go(func() error { defer cancel(); return do(ctx) })
	return g.Wait()
}
