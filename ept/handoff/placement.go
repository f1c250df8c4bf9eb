package handoff

import (
	"context"
	"fmt"
	"sync"

	"splitvm/ept"
	"splitvm/remote"
)

// placement is the vRegions as the VMM said, made at their owners when they are
// first written to.
type placement struct {
	peers   []Peer
	lines   uint32
	regions map[int]ept.Region // immutable

	mu   sync.Mutex
	made map[int]bool // guarded by mu
}

var _ ept.Placement = (*placement)(nil)

func newPlacement(a *Attach, peers []Peer) *placement {
	p := &placement{peers: peers, lines: a.Layout.RegionLines, regions: make(map[int]ept.Region), made: make(map[int]bool)}
	for _, r := range a.Regions {
		region := ept.Region{At: remote.Owned{VRegion: r.ID, Epoch: r.Epoch}}
		for _, o := range r.Owners {
			region.Owners = append(region.Owners, int(o))
		}
		p.regions[int(r.Index)] = region
	}
	return p
}

// Region implements ept.Placement.
func (p *placement) Region(i int) (ept.Region, error) {
	r, ok := p.regions[i]
	if !ok {
		return r, fmt.Errorf("vRegion %d has no owners", i)
	}
	return r, nil
}

// Place implements ept.Placement.
func (p *placement) Place(ctx context.Context, i int) (ept.Region, error) {
	r, err := p.Region(i)
	if err != nil {
		return r, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made[i] {
		return r, nil
	}
	for _, o := range r.Owners {
		if err := p.peers[o].Create(ctx, r.At, p.lines); err != nil {
			return r, fmt.Errorf("create %v at %v: %w", r.At, p.peers[o], err)
		}
	}
	p.made[i] = true
	return r, nil
}
