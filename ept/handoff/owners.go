package handoff

import (
	"fmt"
	"slices"
)

// attachment is what a pager is told of the guest now.
func (g *Guest) attachment() *Attach {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.attach
	a.Monitors, a.Regions = slices.Clone(a.Monitors), slices.Clone(a.Regions)
	return &a
}

// Placed returns the addresses of the guest's memory monitors, and its vRegions
// with the indices of their owners in them.
func (g *Guest) Placed() ([]string, []Region) {
	a := g.attachment()
	return a.Monitors, a.Regions
}

// hasMoved tells whether a vRegion is where a move was to bring it.
func (g *Guest) hasMoved(m Move) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.attach.Regions, func(r Region) bool { return r.Index == m.Index })
	return i >= 0 && g.attach.Regions[i].Epoch == m.Epoch
}

// moved notes a vRegion's new owner, and forgets monitors that own nothing any
// more. It is on return that the owner is the new one, for this pager and all
// that follow.
func (g *Guest) moved(m *Move) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := &g.attach
	i := slices.IndexFunc(a.Regions, func(r Region) bool { return r.Index == m.Index })
	if i < 0 || len(a.Regions[i].Owners) == 0 || m.Epoch <= a.Regions[i].Epoch || m.To == "" {
		return fmt.Errorf("%w: vRegion %d can't have moved to %q at epoch %d", errMessage, m.Index, m.To, m.Epoch)
	}
	index := map[string]uint16{}
	var monitors []string
	of := func(addr string) uint16 {
		if _, ok := index[addr]; !ok {
			index[addr] = uint16(len(monitors))
			monitors = append(monitors, addr)
		}
		return index[addr]
	}
	regions := slices.Clone(a.Regions)
	for j := range regions {
		r := &regions[j]
		if j == i {
			r.Epoch, r.Owners = m.Epoch, []uint16{of(m.To)}
			continue
		}
		owners := make([]uint16, len(r.Owners))
		for k, o := range r.Owners {
			owners[k] = of(a.Monitors[o])
		}
		r.Owners = owners
	}
	a.Monitors, a.Regions = monitors, regions
	return nil
}
