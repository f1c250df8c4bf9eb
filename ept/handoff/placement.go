package handoff

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"splitvm/ept"
	"splitvm/remote"
)

// placement is the vRegions as the VMM said, made at their owners when they are
// first written to.
type placement struct {
	peers   *peers
	lines   uint32
	regions atomic.Pointer[map[int]ept.Region] // replaced, never changed

	mu   sync.Mutex
	made map[int]bool // guarded by mu
}

var _ ept.Placement = (*placement)(nil)

func newPlacement(a *Attach, peers *peers) *placement {
	p := &placement{peers: peers, lines: a.Layout.RegionLines, made: make(map[int]bool)}
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

// moved makes another monitor, which has made the vRegion, its owner.
func (p *placement) moved(i int, r ept.Region) {
	p.mu.Lock()
	defer p.mu.Unlock()
	regions := maps.Clone(*p.regions.Load())
	regions[i] = r
	p.regions.Store(&regions)
	p.made[i] = true
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
