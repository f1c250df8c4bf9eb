package client

import (
	"context"
	"time"

	"splitvm/remote"
	"splitvm/remote/wire"
)

// tick is how often deadlines are checked, and lingering how long the expirer
// goes on when there is nothing to do, so that a steady trickle of requests does
// not wake it each time.
const (
	tick      = 20 * time.Millisecond
	lingering = 50 // ticks
)

// expire fails the requests whose deadline has passed, until ctx ends.
func (c *Client) expire(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for calm := 0; ; {
		select {
		case now := <-t.C:
			calm++
			for _, l := range c.links {
				if l.overdue(now) {
					calm = 0
				}
			}
		case <-ctx.Done():
			return
		}
		if calm < lingering {
			continue
		}
		if calm = 0; !c.park(ctx) {
			return
		}
	}
}

// park waits until something is submitted. A request that was queued before
// parked was set has been seen by the last look at the links or finds it set.
func (c *Client) park(ctx context.Context) bool {
	c.parked.Store(true)
	for _, l := range c.links {
		if l.busy() {
			c.parked.Store(false)
			return true
		}
	}
	select {
	case <-c.wake:
		return true
	case <-ctx.Done():
		return false
	}
}

// rouse wakes the expirer if it sleeps.
func (c *Client) rouse() {
	if c.parked.Load() && c.parked.CompareAndSwap(true, false) {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

func (l *link) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.n+l.flight.n > 0
}

// overdue fails what is past its deadline and tells whether there is anything
// to watch.
func (l *link) overdue(now time.Time) bool {
	l.mu.Lock()
	var failed []*Request
	for r := l.queue.head; r != nil; {
		next := r.next
		if now.After(r.deadline) {
			failed = append(failed, l.quit(r, l.timeout()))
		}
		r = next
	}
	for r := l.flight.head; r != nil; {
		next := r.next
		if now.After(r.deadline) {
			if q := l.quit(r, l.timeout()); q != nil {
				failed = append(failed, q)
			}
		}
		r = next
	}
	busy := l.queue.n+l.flight.n > 0
	l.mu.Unlock()
	finish(failed)
	return busy
}

// quit ends a request with an error before its answer has come. It returns the
// request if it is over, for finish; nil if it will be over when the connection
// has been taken down.
//
// A read that waits for its answer is simply forgotten: a late answer finds
// nobody and is skipped. Where memory of the request is in the hands of the
// kernel, and for whatever changes something, the connection goes: reconnecting
// makes sure that the monitor does not execute it later.
//
// Preconditions: mu is held; the request is queued, in flight or landing.
func (l *link) quit(r *Request, err error) *Request {
	if r.state == queued {
		l.queue.remove(r)
		r.state = idle
		r.Err = err
		return r
	}
	silent := r.heard == l.heard
	if r.state == flying && r.Op == wire.Read && !l.beingSent(r) {
		if silent {
			l.reset(err) // nothing has come since: it will not get better
		}
		l.land(r)
		r.Err = err
		return r
	}
	r.doomed = err
	l.reset(err)
	return nil
}

// cancel ends a request on behalf of its caller; Done is called all the same.
func (c *Client) cancel(r *Request, class wire.Class) {
	l := c.links[class]
	l.mu.Lock()
	var over *Request
	if r.state != idle {
		over = l.quit(r, remote.Cancelled)
	}
	l.mu.Unlock()
	if over != nil {
		over.Done(over)
	}
}
