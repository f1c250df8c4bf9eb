package handoff

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Placer finds owners for a vRegion that is first needed; asked again, it answers the
// same. It takes no longer than ctx, which ends with the pager's session.
type Placer func(ctx context.Context, index uint32) (Placed, error)

// PlaceBy says who is asked for the owners of vRegions that were attached without.
// Precondition: no pager was attached yet.
func (g *Guest) PlaceBy(p Placer) { g.placer = p }

// place returns the owners of a vRegion, found and noted now or before.
func (g *Guest) place(ctx context.Context, index uint32) Placed {
	answer, err := g.owners(index)
	if err == nil && len(answer.Owners) == 0 {
		if answer, err = g.placer(ctx, index); err == nil {
			answer.Index = index
			answer, err = g.placed(answer)
		}
	}
	if err != nil {
		return Placed{Index: index, Refused: err.Error()}
	}
	return answer
}

// owners is who owns a vRegion; nobody if it was not placed.
func (g *Guest) owners(index uint32) (Placed, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.attach.Regions, func(r Region) bool { return r.Index == index })
	if i < 0 || g.placer == nil {
		return Placed{}, fmt.Errorf("vRegion %d is not to be placed", index)
	}
	return g.attach.describe(i), nil
}

// describe is a vRegion with its owners' addresses.
func (a *Attach) describe(i int) Placed {
	r := a.Regions[i]
	p := Placed{Index: r.Index, ID: r.ID, Epoch: r.Epoch}
	for _, o := range r.Owners {
		p.Owners = append(p.Owners, a.Monitors[o])
	}
	return p
}

// placed notes the owners of a vRegion, for this pager and all that follow. If that was
// done meanwhile, and it may have moved since, what was noted holds.
func (g *Guest) placed(p Placed) (Placed, error) {
	if err := p.check(); err != nil {
		return p, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	a := &g.attach
	i := slices.IndexFunc(a.Regions, func(r Region) bool { return r.Index == p.Index })
	if len(a.Regions[i].Owners) > 0 {
		return a.describe(i), nil
	}
	monitors, regions := slices.Clone(a.Monitors), slices.Clone(a.Regions)
	r := Region{Index: p.Index, ID: p.ID, Epoch: p.Epoch}
	for _, addr := range p.Owners {
		at := slices.Index(monitors, addr)
		if at < 0 {
			at, monitors = len(monitors), append(monitors, addr)
		}
		r.Owners = append(r.Owners, uint16(at))
	}
	regions[i] = r
	a.Monitors, a.Regions = monitors, regions
	return p, nil
}

// check tells whether it places a vRegion.
func (p *Placed) check() error {
	switch {
	case p.Refused != "":
		return errors.New(p.Refused)
	case p.ID == 0 || p.Epoch == 0 || len(p.Owners) == 0 || len(p.Owners) > maxOwners || slices.Contains(p.Owners, ""):
		return fmt.Errorf("%w: vRegion %d is placed as %v at %q", errMessage, p.Index, p.ID, p.Owners)
	}
	return nil
}
