package ept

import (
	"sync"
	"sync/atomic"
	"time"
)

// budget counts the frames of an ExCache.
type budget struct {
	capacity atomic.Int64 // lines
	used     atomic.Int64 // credits given out; above capacity only after a resize

	mu      sync.Mutex
	starved []job // wait for a credit, oldest first; guarded by mu
	waiting atomic.Int32
}

// take gives out a credit if there is one.
func (b *budget) take() bool { return b.takeN(1) }

// takeN gives out n credits if there are as many.
func (b *budget) takeN(n int64) bool {
	for {
		used := b.used.Load()
		if used+n > b.capacity.Load() {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// free returns how many credits are left; negative while a resize isn't done.
func (b *budget) free() int64 { return b.capacity.Load() - b.used.Load() }

// starve queues j until there is a credit. It returns false if there is one by
// now, and j has it.
func (b *budget) starve(j job) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting.Add(1)
	if b.take() { // after waiting is set: a release now would see it
		b.waiting.Add(-1)
		return false
	}
	j.since = time.Now()
	b.starved = append(b.starved, j)
	return true
}

// release takes back n credits, and returns the jobs that have one now.
func (b *budget) release(n int64) []job {
	b.used.Add(-n)
	if b.waiting.Load() == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	k := 0
	for k < len(b.starved) && b.take() {
		b.starved[k].credit = true
		k++
	}
	jobs := append([]job(nil), b.starved[:k]...)
	b.starved = append(b.starved[:0], b.starved[k:]...)
	b.waiting.Add(int32(-k))
	return jobs
}

// longest returns the job that has waited longest for a credit.
func (b *budget) longest() (job, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.starved) == 0 {
		return job{}, false
	}
	return b.starved[0], true
}
