package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"splitvm/remote"
	"splitvm/remote/api"
	"splitvm/remote/rack"
	"splitvm/remote/tunnel"
)

type monitor struct {
	cfg      Config
	log      *slog.Logger
	ctx      context.Context
	wg       sync.WaitGroup
	vnodes   api.VNodesClient
	vregions api.VRegionsClient
	id       atomic.Uint64 // of the member
	joined   chan struct{} // closed at the first registration
	changed  chan struct{} // the set of runs did

	mu   sync.Mutex
	runs map[uint64]*run // by vID; guarded by mu
}

// Run serves until ctx ends (nil) or something fails. vNodes that run then go
// on, for the next Run in the same folder.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Grace == 0 {
		cfg.Grace = defaultGrace
	}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "run"), 0o700); err != nil {
		return fmt.Errorf("processor monitor: %w", err)
	}
	conn, err := rack.Dial(cfg.Global)
	if err != nil {
		return fmt.Errorf("processor monitor: %w", err)
	}
	defer conn.Close()
	m := &monitor{cfg: cfg, log: cfg.Log, runs: map[uint64]*run{}, joined: make(chan struct{}), changed: make(chan struct{}, 1),
		vnodes: api.NewVNodesClient(conn), vregions: api.NewVRegionsClient(conn)}
	if err := m.run(ctx); err != nil {
		return fmt.Errorf("processor monitor: %w", err)
	}
	return nil
}

func (m *monitor) run(ctx context.Context) error {
	listener, err := net.Listen("tcp", m.cfg.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	placer, err := m.listenPlacer()
	if err != nil {
		return err
	}
	defer placer.Close()
	id, err := m.savedID()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	m.ctx = ctx
	if err := m.adopt(); err != nil {
		return err
	}
	public, private := grpc.NewServer(tunnel.ServerOptions()...), grpc.NewServer()
	api.RegisterProcessorServer(public, &server{m: m})
	reflection.Register(public)
	api.RegisterVRegionsServer(private, &placing{m: m})
	g.Go(func() error { return public.Serve(listener) })
	g.Go(func() error { return private.Serve(placer) })
	g.Go(func() error { return m.member(listener, id).Keep(ctx) })
	g.Go(func() error { m.balance(ctx); return nil })
	g.Go(func() error { m.keepNetwork(ctx); return nil })
	g.Go(func() error { return m.serveMetrics(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		public.Stop()
		private.Stop()
		return nil
	})
	m.log.Info("processor monitor listens", "address", listener.Addr().String())
	if m.cfg.Ready != nil {
		m.cfg.Ready(listener.Addr())
	}
	err = g.Wait()
	m.wg.Wait()
	return err
}

// member describes this monitor to the rack.
func (m *monitor) member(l net.Listener, id uint64) *rack.Member {
	var once sync.Once
	return &rack.Member{
		Global: m.cfg.Global,
		Self: &api.Member{Id: id, Role: api.Role_ROLE_PROCESSOR, Name: m.cfg.Name, Domain: m.cfg.Domain, Control: l.Addr().String(),
			Capacity: &api.Resources{Vcpus: m.cfg.VCPUs, ExcacheBytes: m.cfg.ExCache}},
		Report: func() (*api.Resources, []remote.VRegionStat) { return m.used(), nil },
		Joined: func(id remote.MonitorID) {
			m.id.Store(uint64(id))
			if err := os.WriteFile(m.idPath(), []byte(strconv.FormatUint(uint64(id), 10)), 0o600); err != nil {
				m.log.Error("save the member's id", "err", err)
			}
			once.Do(func() { close(m.joined) })
			m.rejoined()
		},
		// Runs go on without the monitor: the next one is the same member.
		Stay: func() bool { m.mu.Lock(); defer m.mu.Unlock(); return len(m.runs) > 0 },
		Log:  m.log,
	}
}

// used is what the runs take.
func (m *monitor) used() *api.Resources {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := &api.Resources{}
	for _, r := range m.runs {
		u.Vnodes++
		u.Vcpus += uint64(r.vnode.Spec.Vcpus)
		r.mu.Lock()
		u.ExcacheBytes += r.excache
		r.mu.Unlock()
	}
	return u
}

func (m *monitor) controlDir() string { return filepath.Join(m.cfg.Dir, "run") }
func (m *monitor) placerPath() string { return filepath.Join(m.cfg.Dir, "placer.sock") }
func (m *monitor) idPath() string     { return filepath.Join(m.cfg.Dir, "member") }

// savedID is the member's id of an earlier monitor of this folder; 0: none.
func (m *monitor) savedID() (uint64, error) {
	raw, err := os.ReadFile(m.idPath())
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", m.idPath(), err)
	}
	return id, nil
}
