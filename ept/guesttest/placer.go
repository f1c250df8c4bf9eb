package guesttest

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"splitvm/ept/handoff"
)

// placer places vRegions as a rack does that is slow at times, or does not answer.
func (g *guest) placer() handoff.Placer {
	from := time.Now().Add(g.LateAfter)
	return func(ctx context.Context, index uint32) (handoff.Placed, error) {
		switch {
		case g.Refuse != "":
			return handoff.Placed{}, errors.New(g.Refuse)
		case time.Now().Before(from) || rand.N(4) == 0:
			return handoff.Placed{}, errors.New("nobody leads")
		case rand.N(2) == 0:
			select {
			case <-time.After(rand.N(time.Second)):
			case <-ctx.Done():
				return handoff.Placed{}, ctx.Err()
			}
		}
		r := g.placed(index)
		p := handoff.Placed{ID: r.ID, Epoch: r.Epoch}
		for _, o := range r.Owners {
			p.Owners = append(p.Owners, g.Monitors[o])
		}
		return p, nil
	}
}
