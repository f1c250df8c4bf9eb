package ept

import (
	"context"
	"sync"

	"splitvm/ept/excache"
)

// changes keeps account of the WRITEs and DISCARDs that are under way, by
// vRegion, for a move: what they touch is stale at the monitor that the vRegion
// moves to, and at the end of the move there must be none.
type changes struct {
	mu    sync.Mutex
	under map[int]int   // by vRegion; guarded by mu
	idle  chan struct{} // closed when none is under way of the vRegion that is shut; guarded by mu
	move  *move         // of the one vRegion that moves; guarded by mu
}

// begin counts a change of a vRegion that is about to be sent, and its owners
// must be asked for after it. It waits while the vRegion is being handed over.
func (c *changes) begin(ctx context.Context, region int) error {
	for {
		c.mu.Lock()
		m := c.move
		if m == nil || m.region != region || m.shut == nil {
			if c.under == nil {
				c.under = map[int]int{}
			}
			c.under[region]++
			c.mu.Unlock()
			return nil
		}
		shut := m.shut
		c.mu.Unlock()
		select {
		case <-shut:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end is told that changes of sorted lines, which begin has counted once for each
// of their vRegions, were answered by all owners, or failed.
func (c *changes) end(m *Layout, lines []excache.Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, l := range lines {
		region, line := m.region(l)
		if c.move != nil && c.move.region == region {
			c.move.stale.set(line)
		}
		if i+1 < len(lines) {
			if next, _ := m.region(lines[i+1]); next == region {
				continue
			}
		}
		c.ended(region)
	}
}

// ended uncounts a change. Preconditions: mu is held.
func (c *changes) ended(region int) {
	if c.under[region]--; c.under[region] > 0 {
		return
	}
	delete(c.under, region)
	if c.idle != nil && c.move.region == region {
		close(c.idle)
		c.idle = nil
	}
}

// shut keeps changes of the vRegion that moves from beginning, and returns when
// those that have begun are over; or with ctx's error, and then it is still shut.
func (c *changes) shut(ctx context.Context) error {
	c.mu.Lock()
	c.move.shut = make(chan struct{})
	var idle chan struct{}
	if c.under[c.move.region] > 0 {
		idle = make(chan struct{})
		c.idle = idle
	}
	c.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		c.idle = nil
		c.mu.Unlock()
		return ctx.Err()
	}
}

// over ends the move: changes may begin again.
func (c *changes) over() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.move.shut != nil {
		close(c.move.shut)
	}
	c.move, c.idle = nil, nil
}
