package ept

import (
	"fmt"
	"sync"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
	"splitvm/ept/uffd"
)

// shard is a part of the lines with a userfaultfd, a fault thread and a policy
// of its own.
type shard struct {
	pager  *Pager
	index  int
	faults *uffd.File

	mu       sync.Mutex
	policy   policy.Policy
	held     map[excache.Line]*frame // copies of the lines in state Held
	heldFIFO []excache.Line          // oldest first, with stale ones
}

// step moves a line, and tells the policy. Preconditions: sh.mu is held.
func (sh *shard) step(l excache.Line, ev excache.Event, why policy.Origin) (excache.Effects, error) {
	do, err := sh.pager.table.Step(l, ev)
	if err != nil {
		return 0, fmt.Errorf("shard %d: %w", sh.index, err)
	}
	if do.Has(excache.Enter) {
		sh.policy.Insert(l, why)
	}
	if do.Has(excache.Again) {
		sh.policy.Again(l)
	}
	return do, nil
}

// stepOne is step with the lock taken. A step that isn't legal fails the pager;
// nothing is to be done then.
func (sh *shard) stepOne(l excache.Line, ev excache.Event, why policy.Origin) excache.Effects {
	sh.mu.Lock()
	do, err := sh.step(l, ev, why)
	sh.mu.Unlock()
	if err != nil {
		sh.pager.broken(err)
	}
	return do
}

// hold keeps f as the copy of a line that goes to Held. Preconditions: sh.mu is held.
func (sh *shard) hold(l excache.Line, f *frame) {
	sh.held[l] = f
	sh.heldFIFO = append(sh.heldFIFO, l)
}

// unhold takes the copy of a line that leaves Held. Preconditions: sh.mu is held.
func (sh *shard) unhold(l excache.Line) *frame {
	f := sh.held[l]
	delete(sh.held, l)
	return f
}

// reclaim gives up the oldest held copies until n are given up or keep are left.
// It returns how many it gave up; their credits are now the caller's.
func (sh *shard) reclaim(n, keep int) int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	given := 0
	for given < n && len(sh.held) > keep && len(sh.heldFIFO) > 0 {
		l := sh.heldFIFO[0]
		sh.heldFIFO = sh.heldFIFO[1:]
		do, err := sh.step(l, excache.Reclaim, policy.Demand)
		if err != nil {
			sh.pager.broken(err)
			return given
		}
		if do.Has(excache.DropCopy) {
			sh.unhold(l).free()
			given++
		}
	}
	return given
}
