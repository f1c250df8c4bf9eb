package handoff

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"splitvm/ept"
	"splitvm/remote"
)

// placement is the vRegions as the VMM said, made at their owners when they are
// first written to. Those that have no owners then get them of the VMM.
type placement struct {
	peers   *peers
	lines   uint32
	ask     func(index uint32)                 // the VMM for owners; placed has the answer
	regions atomic.Pointer[map[int]ept.Region] // replaced, never changed

	mu     sync.Mutex
	made   map[int]bool      // guarded by mu
	asking map[int]*question // guarded by mu
	why    map[int]error     // the last refusal of each that has none yet; guarded by mu
}

// question is that for a vRegion's owners.
type question struct {
	done   chan struct{} // closed with the answer
	err    error         // written before that
	before error         // the answer before this one; immutable
}

// placePatience is how long the first write-back waits for the VMM, which is told in a
// moment if all is well. Other vRegions' lines wait too.
const placePatience = 250 * time.Millisecond

var errPlacing = errors.New("the rack has not said yet which memory monitors are to own it")

var _ ept.Placement = (*placement)(nil)

func newPlacement(a *Attach, peers *peers, ask func(uint32)) *placement {
	p := &placement{peers: peers, lines: a.Layout.RegionLines, ask: ask, made: make(map[int]bool), asking: make(map[int]*question), why: make(map[int]error)}
	regions := make(map[int]ept.Region)
	for _, r := range a.Regions {
		region := ept.Region{At: remote.Owned{VRegion: r.ID, Epoch: r.Epoch}}
		for _, o := range r.Owners {
			region.Owners = append(region.Owners, int(o))
		}
		regions[int(r.Index)] = region
	}
	p.regions.Store(&regions)
	return p
}

// Region implements ept.Placement.
func (p *placement) Region(i int) (ept.Region, error) {
	r, ok := (*p.regions.Load())[i]
	if !ok {
		return r, fmt.Errorf("vRegion %d has no owners", i)
	}
	return r, nil
}

// Place implements ept.Placement.
func (p *placement) Place(ctx context.Context, i int) (ept.Region, error) {
	if err := p.await(ctx, i); err != nil {
		return ept.Region{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r, err := p.Region(i)
	if err != nil || p.made[i] {
		return r, err
	}
	for _, o := range r.Owners {
		at := p.peers.of(o)
		if err := at.Create(ctx, r.At, p.lines); err != nil {
			return r, fmt.Errorf("create %v at %v: %w", r.At, at, err)
		}
	}
	p.made[i] = true
	return r, nil
}

// await sees to it that a vRegion has owners. An error may be gone when it is asked for
// again.
func (p *placement) await(ctx context.Context, i int) error {
	p.mu.Lock()
	r, err := p.Region(i)
	if err != nil || len(r.Owners) > 0 {
		p.mu.Unlock()
		return err
	}
	q := p.asking[i]
	first := q == nil
	if first {
		q = &question{done: make(chan struct{}), before: p.why[i]}
		p.asking[i] = q
	}
	p.mu.Unlock()
	if !first { // somebody has waited already, and other vRegions' lines shall not
		return q.wait(ctx, 0)
	}
	p.ask(uint32(i))
	return q.wait(ctx, placePatience)
}

func (q *question) wait(ctx context.Context, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-q.done:
		return q.err
	case <-timer.C:
		if q.before != nil {
			return fmt.Errorf("%w, and before that: %w", errPlacing, q.before)
		}
		return errPlacing
	case <-ctx.Done():
		return ctx.Err()
	}
}

// placed takes the answer about a vRegion: its owners, or why there are none.
func (p *placement) placed(i int, r ept.Region, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.asking[i]
	if q == nil {
		return
	}
	delete(p.asking, i)
	delete(p.why, i)
	if err == nil {
		p.set(i, r)
	} else {
		p.why[i] = err
	}
	q.err = err
	close(q.done)
}

// moved makes another monitor, which has made the vRegion, its owner.
func (p *placement) moved(i int, r ept.Region) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(i, r)
	p.made[i] = true
}

// set replaces a vRegion. The caller holds mu.
func (p *placement) set(i int, r ept.Region) {
	regions := maps.Clone(*p.regions.Load())
	regions[i] = r
	p.regions.Store(&regions)
}

// owns tells whether the monitor of an index owns any vRegion.
func (p *placement) owns(owner int) bool {
	for _, r := range *p.regions.Load() {
		if slices.Contains(r.Owners, owner) {
			return true
		}
	}
	return false
}
