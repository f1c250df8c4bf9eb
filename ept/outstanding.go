package ept

import (
	"sync"
	"time"

	"splitvm/ept/excache"
)

// outstanding is the demand READs under way, for the watchdog and for retries.
type outstanding struct {
	mu      sync.Mutex
	reads   map[*demandRead]struct{} // guarded by mu
	waiting int                      // those that wait for another try; guarded by mu

	wake chan struct{} // there is one that waits
}

func (o *outstanding) init() {
	o.reads = make(map[*demandRead]struct{})
	o.wake = make(chan struct{}, 1)
}

func (o *outstanding) add(r *demandRead) {
	o.mu.Lock()
	o.reads[r] = struct{}{}
	o.mu.Unlock()
}

func (o *outstanding) remove(r *demandRead) {
	o.mu.Lock()
	delete(o.reads, r)
	o.mu.Unlock()
}

// none tells whether no READ is under way.
func (o *outstanding) none() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.reads) == 0
}

// retry has the watchdog try r again at a time.
func (o *outstanding) retry(r *demandRead, at time.Time) {
	o.mu.Lock()
	r.retry = at
	o.waiting++
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// due returns the READs to try again now, and whether there are more for later.
func (o *outstanding) due(now time.Time) (due []*demandRead, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := range o.reads {
		if !r.retry.IsZero() && !r.retry.After(now) {
			r.retry = time.Time{}
			o.waiting--
			due = append(due, r)
		}
	}
	return due, o.waiting > 0
}

// oldest returns the line of the READ that has been under way for longest, and
// since when.
func (o *outstanding) oldest() (l excache.Line, since time.Time, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := range o.reads {
		if since.IsZero() || r.first.Before(since) {
			l, since = r.job.line, r.first
		}
	}
	return l, since, !since.IsZero()
}
