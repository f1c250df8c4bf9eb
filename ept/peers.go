package ept

import (
	"sync"
	"sync/atomic"
	"time"
)

// peers are the memory monitors that the pager knows, by their index in
// Region.Owners. Moves of vRegions bring more; none is taken away.
type peers struct {
	mu   sync.Mutex              // of add
	list atomic.Pointer[[]*peer] // replaced, never changed
}

// peer is a memory monitor and what the pager has seen of it.
type peer struct {
	Monitor
	failed atomic.Int64 // when it failed last, in Unix nanoseconds
}

// add makes monitors known, and returns the index of the first.
func (p *peers) add(monitors ...Monitor) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []*peer
	if old := p.list.Load(); old != nil {
		list = append(list, *old...)
	}
	first := len(list)
	for _, m := range monitors {
		list = append(list, &peer{Monitor: m})
	}
	p.list.Store(&list)
	return first
}

func (p *peers) of(owner int) *peer { return (*p.list.Load())[owner] }

// AddMonitor makes another memory monitor known, and returns its index for
// Region.Owners.
func (p *Pager) AddMonitor(m Monitor) int { return p.peers.add(m) }

// suspicion is how long a failure is remembered.
const suspicion = 2 * time.Second

// suspect remembers that a monitor failed, so that a replica is asked first that
// is likely to answer.
func (p *peers) suspect(owner int) { p.of(owner).failed.Store(time.Now().UnixNano()) }

// order returns the owner to ask at the try-th time: those that didn't fail lately
// come first, in their order.
func (p *peers) order(owners []int, try int) int {
	if len(owners) == 1 {
		return owners[0]
	}
	since := time.Now().Add(-suspicion).UnixNano()
	trusted := func(o int) bool { return p.of(o).failed.Load() < since }
	well := 0
	for _, o := range owners {
		if trusted(o) {
			well++
		}
	}
	pick := try % len(owners)
	if pick < well {
		return nth(owners, pick, trusted)
	}
	return owners[pick]
}

// nth returns the n-th owner of which ok, the first one if there are fewer by now.
func nth(owners []int, n int, ok func(int) bool) int {
	for _, o := range owners {
		if !ok(o) {
			continue
		}
		if n == 0 {
			return o
		}
		n--
	}
	return owners[0]
}
