package global

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sync/errgroup"

	"splitvm/monitors/global/place"
)

// Config is a global monitor as its user describes it.
type Config struct {
	Listen string // HOST:PORT of the gRPC services
	Name   string // of this one among several
	Etcd   Etcd
	Lease  time.Duration // of members; a member whose heartbeats stop for so long is lost
	// RepairAfter is how long a storage monitor may be away before its replicas are made
	// again elsewhere, from those that are left; 0: until an operator removes it.
	RepairAfter time.Duration
	Policy      place.Policy
	// Metrics is the address of the Prometheus endpoint; empty: none.
	Metrics string
	// How often each resource may be promised; 0: once.
	MemoryOvercommit, VCPUOvercommit, DiskOvercommit float64
	Log                                              *slog.Logger
	// Ready, if set, is called with the address when it is being listened on.
	Ready func(net.Addr)
}

// DefaultLease of members.
const DefaultLease = 10 * time.Second

// DefaultRepairAfter is longer than a host takes to start again, and short beside the
// time until another one fails: nobody has to be there for a volume to keep the replicas
// that it was made with. Nothing is lost by a repair that was too early: a monitor that
// comes back counts with what has not been made elsewhere by then.
const DefaultRepairAfter = 10 * time.Minute

// leaderTTL is for how long an election holds without a sign of life, in seconds: at
// most 5, and a half of the members' lease, since nobody renews those until the next one
// leads.
func leaderTTL(lease time.Duration) int {
	return min(5, max(1, int(lease/time.Second)/2))
}

type monitor struct {
	cfg    Config
	client *clientv3.Client
	leader atomic.Pointer[leader] // nil: another one leads
}

// Run serves until ctx ends (nil) or something fails.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Lease == 0 {
		cfg.Lease = DefaultLease
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("global monitor: %w", err)
	}
	defer listener.Close()
	client, closeEtcd, err := openEtcd(ctx, cfg.Etcd)
	if ctx.Err() != nil && err != nil {
		return nil // stopped before it began
	}
	if err != nil {
		return fmt.Errorf("global monitor: %w", err)
	}
	defer closeEtcd()
	m := &monitor{cfg: cfg, client: client}
	srv := newServer(m)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return srv.Serve(listener) })
	g.Go(func() error { m.campaigns(ctx); srv.Stop(); return nil })
	g.Go(func() error { return m.serveMetrics(ctx) })
	cfg.Log.Info("global monitor listens", "address", listener.Addr().String())
	if cfg.Ready != nil {
		cfg.Ready(listener.Addr())
	}
	return g.Wait()
}

// campaigns leads whenever it may, until ctx ends.
func (m *monitor) campaigns(ctx context.Context) {
	for ctx.Err() == nil {
		if err := m.term(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Log.Warn("leadership ended", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// term waits to be elected, and leads until that ends.
func (m *monitor) term(ctx context.Context) error {
	session, err := concurrency.NewSession(m.client, concurrency.WithTTL(leaderTTL(m.cfg.Lease)), concurrency.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("election: %w", err)
	}
	defer session.Close()
	election := concurrency.NewElection(session, keyLeader)
	if err := election.Campaign(ctx, m.cfg.Name); err != nil {
		return fmt.Errorf("election: %w", err)
	}
	l := newLeader(ctx, &m.cfg, &store{client: m.client, key: election.Key(), rev: election.Rev()})
	defer l.close()
	rev, err := l.load(ctx)
	if err != nil {
		return err
	}
	l.wg.Go(func() { l.watchLeases(rev) })
	l.wg.Go(l.resume)
	l.wg.Go(l.relocations)
	m.leader.Store(l)
	defer m.leader.Store(nil)
	m.cfg.Log.Info("leads", "name", m.cfg.Name)
	select {
	case <-session.Done():
		return errors.New("the election's session ended")
	case <-l.ctx.Done():
	}
	if ctx.Err() != nil { // make way at once
		resign, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return election.Resign(resign)
	}
	return context.Cause(l.ctx)
}
