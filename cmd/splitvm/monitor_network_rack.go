package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"splitvm/monitors/network/host"
	"splitvm/monitors/network/mesh"
	"splitvm/monitors/network/names"
	"splitvm/remote/network"
)

// rackNetworks are the networks of a processor monitor's vNodes.
type rackNetworks struct {
	dir, socket, mesh string
	globals           []string
	cfg               host.Config
	metrics           string        // HOST:PORT; empty: none
	look              time.Duration // how often to look whether anybody is there
}

// serve has networks until ctx is done, or nobody is there any more that they are for.
func (r *rackNetworks) serve(ctx context.Context) error {
	l, err := r.listen()
	if err != nil {
		return err
	}
	m := mesh.New(l, r.cfg.Log)
	defer m.Close()
	r.cfg.Log.Info("mesh", "address", m.Addr())
	r.cfg.Rack = true
	r.cfg.Made = func(name string, sw *network.Switch, n *names.Table) { m.Add(name, sw, n) }
	h, err := host.New(r.cfg)
	if err != nil {
		return err
	}
	return withMetrics(ctx, r.metrics, []prometheus.Collector{h, m}, func(ctx context.Context) error { return r.run(ctx, h, m) })
}

func (r *rackNetworks) run(ctx context.Context, h *host.Networks, m *mesh.Mesh) error {
	watch := &mesh.Watch{Global: r.globals, Member: r.member, Mesh: m.Addr().String(), Apply: m.Apply, Log: r.cfg.Log}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return watch.Run(ctx) })
	g.Go(func() error { defer cancel(); return serveNetworks(ctx, r.socket, h, r.cfg.Log) })
	g.Go(func() error { r.untilAlone(ctx, h); cancel(); return nil })
	return g.Wait()
}

// listen takes the address that it had before, if it can: other hosts know that.
func (r *rackNetworks) listen() (net.Listener, error) {
	file := filepath.Join(r.dir, "mesh")
	if raw, err := os.ReadFile(file); err == nil {
		if l, err := net.Listen("tcp", strings.TrimSpace(string(raw))); err == nil {
			return l, nil
		}
	}
	l, err := net.Listen("tcp", r.mesh)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, []byte(l.Addr().String()), 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// member is the processor monitor's id in the rack.
func (r *rackNetworks) member() (uint64, error) {
	raw, err := os.ReadFile(filepath.Join(r.dir, "member"))
	if err != nil {
		return 0, fmt.Errorf("the processor monitor is no member yet: %w", err)
	}
	return strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
}

// Looks at whether anybody is there: how often, and how many of nobody end the process.
const (
	aloneLook  = 10 * time.Second
	aloneLooks = 6
)

// untilAlone returns when neither the processor monitor nor a VMM of its is there any
// more: the monitor, which would have ended this process, was killed.
func (r *rackNetworks) untilAlone(ctx context.Context, h *host.Networks) {
	for times := 0; times < aloneLooks; times++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(r.look):
		}
		c, err := net.Dial("unix", filepath.Join(r.dir, "placer.sock"))
		if err == nil {
			c.Close()
		}
		if err == nil || h.Plugged() > 0 {
			times = -1
		}
	}
	r.cfg.Log.Warn("the processor monitor is gone, and its vNodes are: ending")
}
