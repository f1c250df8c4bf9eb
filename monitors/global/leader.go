package global

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
)

// leader is the rack's state, of the global monitor that leads.
type leader struct {
	cfg   *Config
	log   *slog.Logger
	store *store
	ctx   context.Context // ends with the leadership
	fail  context.CancelCauseFunc
	wg    sync.WaitGroup // of goroutines that the leader started

	mu       sync.Mutex
	rack     uint64                    // tag in the ids of vRegions; immutable after load
	members  map[uint64]*member        // guarded by mu, like all below
	vnodes   map[uint64]*api.VNode     // by vID
	names    map[string]uint64         // vIDs
	vregions map[uint64][]*api.VRegion // by vID
	known    map[uint64]*api.VRegion   // vRegions that have an owner, by id
	moves    moves
	volumes  map[string]*api.VolumePlace
	changing map[string]bool        // volumes that are being made, changed or removed
	homes    map[uint64]*api.Member // storage monitors, also those that are away
	away     map[uint64]time.Time   // since when those are, as far as this leader knows
	overdue  map[uint64]bool        // those of them whose replicas are made again elsewhere
	pools    map[api.Role]*place.Pool
	counts   map[string]uint64 // last id given, by kind
	events   events
	networks networks
}

func newLeader(ctx context.Context, cfg *Config, s *store) *leader {
	l := &leader{
		cfg: cfg, log: cfg.Log, store: s,
		members: map[uint64]*member{}, vnodes: map[uint64]*api.VNode{}, names: map[string]uint64{},
		vregions: map[uint64][]*api.VRegion{}, known: map[uint64]*api.VRegion{}, volumes: map[string]*api.VolumePlace{},
		changing: map[string]bool{}, homes: map[uint64]*api.Member{}, away: map[uint64]time.Time{}, overdue: map[uint64]bool{}, counts: map[string]uint64{},
	}
	l.ctx, l.fail = context.WithCancelCause(ctx)
	l.events.init()
	l.networks.changed()
	l.moves.init()
	l.pools = map[api.Role]*place.Pool{
		api.Role_ROLE_PROCESSOR: place.NewPool(place.Config{Policy: cfg.Policy, Overcommit: place.Factor{1, cfg.VCPUOvercommit}}),
		api.Role_ROLE_MEMORY:    place.NewPool(place.Config{Policy: cfg.Policy, Overcommit: place.Factor{cfg.MemoryOvercommit}}),
		api.Role_ROLE_STORAGE:   place.NewPool(place.Config{Policy: cfg.Policy, Overcommit: place.Factor{cfg.DiskOvercommit}}),
	}
	return l
}

// commit writes a change that was made in memory already. If that fails, memory
// and etcd differ, and the leadership ends: whoever leads next reads etcd.
func (l *leader) commit(c *change) error {
	err := l.store.commit(l.ctx, c)
	if err != nil {
		l.fail(err)
		return status.Errorf(codes.Unavailable, "%v", err)
	}
	l.events.publish()
	if c.networks {
		l.networks.changed()
	}
	return nil
}

// next gives an id of a kind that was never given before.
func (l *leader) next(c *change, kind string) uint64 {
	l.counts[kind]++
	if c.counts == nil {
		c.counts = map[string]uint64{}
	}
	c.counts[kind] = l.counts[kind]
	return l.counts[kind]
}

// close waits for what the leader started.
func (l *leader) close() {
	l.fail(errDeposed)
	l.wg.Wait()
}
