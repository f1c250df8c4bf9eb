package ept

import (
	"fmt"
	"sync"
	"sync/atomic"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
	"splitvm/ept/prefetch"
	"splitvm/ept/uffd"
)

// shard is a part of the lines with a userfaultfd, a fault thread and a policy
// of its own.
type shard struct {
	pager     *Pager
	index     int
	faults    *uffd.File
	thread    atomic.Int32 // the fault thread's id; 0 before it has begun
	lingering lingering

	mu       sync.Mutex
	policy   policy.Policy
	faulted  prefetch.Prefetcher // from faults on lines that are not mapped
	upgraded prefetch.Prefetcher // from first writes to clean lines
	held     held
}

// step moves a line, and tells the policy. Preconditions: sh.mu is held.
func (sh *shard) step(l excache.Line, ev excache.Event, why policy.Origin) (excache.Effects, error) {
	was := sh.pager.table.At(l)
	do, err := sh.pager.table.Step(l, ev)
	if err != nil {
		return 0, fmt.Errorf("shard %d: %w", sh.index, err)
	}
	if now := sh.pager.table.At(l).Newest(); now != was.Newest() {
		if now {
			sh.pager.stats.Dirty.Add(1)
		} else {
			sh.pager.stats.Dirty.Add(-1)
		}
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
