package ept

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
	"splitvm/ept/prefetch"
	"splitvm/ept/uffd"
)

// MinCapacity is the smallest ExCache in lines: an instruction may need several
// lines at once, with its page tables, on each vCPU.
const MinCapacity = 256

// Config is what a pager works with. Descriptors stay the caller's, and must be
// open until Close has returned.
type Config struct {
	Layout    Layout // validated
	Table     *excache.Table
	TableFile int          // the file that Table is in
	Memory    int          // the memfd
	Faults    []*uffd.File // by shard; agreed upon and registered
	Monitors  []Monitor    // known from the start
	Placement Placement
	Capacity  uint64        // lines that the ExCache holds at most
	Policy    string        // a name of package policy; "" is the default
	Prefetch  string        // a name of package prefetch; "" is the default
	Deadline  time.Duration // in which a line must be served; 0 is DefaultDeadline
}

// DefaultDeadline is how long a vCPU waits for a line before its vNode is stopped.
const DefaultDeadline = 30 * time.Second

// Pager serves the faults of one vNode.
type Pager struct {
	cfg    Config
	layout *Layout
	table  *excache.Table
	kind   policy.Kind
	shards []*shard

	budget      budget
	streams     atomic.Int64 // free frames that streams want
	evictor     *evictor
	outstanding outstanding
	stats       stats

	peers      peers
	changes    changes
	writeError atomic.Pointer[writeError] // the latest
	awake      awake

	ctx    context.Context // ends with Close, or a failure
	cancel context.CancelFunc
	wg     sync.WaitGroup

	failOnce sync.Once
	failed   chan struct{} // closed after failure is set
	failure  *Failure
}

// Start repairs the table after a pager that was killed, wakes all sleepers and
// begins to serve. No other pager may be using the table or the memfd. The
// error says what is wrong with cfg or the table.
func Start(cfg Config) (*Pager, error) {
	p, err := newPager(cfg)
	if err != nil {
		return nil, err
	}
	if err := p.repair(); err != nil {
		p.Close()
		return nil, err
	}
	for _, f := range cfg.Faults {
		if err := f.SetBlocking(true); err != nil {
			p.Close()
			return nil, fmt.Errorf("start pager: %w", err)
		}
	}
	p.wg.Go(func() { p.evictor.run(p.ctx) })
	p.wg.Go(p.watch)
	for _, sh := range p.shards {
		p.wg.Go(sh.serve)
	}
	p.checkFree()
	return p, nil
}

func newPager(cfg Config) (*Pager, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("start pager: %w", err)
	}
	kind, err := policy.ByName(cfg.Policy)
	if err != nil {
		return nil, fmt.Errorf("start pager: %w", err)
	}
	p := &Pager{cfg: cfg, layout: &cfg.Layout, table: cfg.Table, kind: kind, failed: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.budget.capacity.Store(int64(cfg.Capacity))
	p.outstanding.init()
	p.awake.begin()
	p.peers.add(cfg.Monitors...)
	p.evictor = &evictor{pager: p, wake: make(chan struct{}, 1)}
	for i, f := range cfg.Faults {
		sh, err := p.newShard(i, f)
		if err != nil {
			return nil, fmt.Errorf("start pager: %w", err)
		}
		p.shards = append(p.shards, sh)
	}
	return p, nil
}

func (p *Pager) newShard(i int, f *uffd.File) (*shard, error) {
	sh := &shard{pager: p, index: i, faults: f, policy: p.kind.New(int(p.cfg.Capacity) / p.cfg.Layout.Shards),
		held: held{copies: make(map[excache.Line]heldCopy)}, lingering: lingering{reader: uffd.NewReader(f)}}
	var err error
	if sh.faulted, err = prefetch.ByName(p.cfg.Prefetch); err != nil {
		return nil, err
	}
	sh.upgraded, err = prefetch.ByName(p.cfg.Prefetch)
	return sh, err
}

func (c *Config) check() error {
	if c.Prefetch == "" {
		c.Prefetch = prefetch.Default
	}
	if c.Policy == "" {
		c.Policy = policy.Default
	}
	if c.Deadline == 0 {
		c.Deadline = DefaultDeadline
	}
	switch {
	case len(c.Faults) != c.Layout.Shards:
		return fmt.Errorf("%d userfaultfds for %d shards", len(c.Faults), c.Layout.Shards)
	case uint64(c.Table.Lines()) < c.Layout.Lines():
		return fmt.Errorf("line table has %d lines, memory %d", c.Table.Lines(), c.Layout.Lines())
	case c.Capacity < MinCapacity || c.Capacity > excache.MaxLines:
		return fmt.Errorf("ExCache of %d lines: must be %d to %d", c.Capacity, MinCapacity, uint64(excache.MaxLines))
	case c.Placement == nil:
		return errors.New("no memory monitor")
	}
	return nil
}

// Failed is closed when the pager can't go on; Failure says why.
func (p *Pager) Failed() <-chan struct{} { return p.failed }

// Failure returns why the pager can't go on, nil while it can.
func (p *Pager) Failure() *Failure {
	select {
	case <-p.failed:
		return p.failure
	default:
		return nil
	}
}

// Resize changes the ExCache to a number of lines, also below what is resident:
// the evictor brings it there, and faults wait meanwhile.
func (p *Pager) Resize(lines uint64) error {
	if lines < MinCapacity || lines > excache.MaxLines {
		return fmt.Errorf("resize ExCache to %d lines: must be %d to %d", lines, MinCapacity, uint64(excache.MaxLines))
	}
	p.budget.capacity.Store(int64(lines))
	p.release(0)
	p.evictor.kick()
	return nil
}

// stopped tells whether nothing is to be started any more.
func (p *Pager) stopped() bool {
	return p.ctx.Err() != nil || p.Failure() != nil
}

// Close stops serving. Vcpus that sleep stay asleep, for a successor or until the
// userfaultfds are closed. The caller closes the monitors after it.
func (p *Pager) Close() error {
	p.cancel()
	var errs []error
	for _, sh := range p.shards {
		errs = append(errs, sh.interrupt())
	}
	p.wg.Wait()
	return errors.Join(errs...)
}
