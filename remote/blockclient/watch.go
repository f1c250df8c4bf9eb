package blockclient

import (
	"context"
	"fmt"
	"time"

	"splitvm/remote"
	"splitvm/remote/wire"
)

const (
	tick    = 20 * time.Millisecond
	asking  = 5 * time.Second  // a connection that is this quiet is asked for a sign of life
	silence = 15 * time.Second // and cut when none came
)

// watch looks after deadlines and replicas that are away, until ctx ends.
func (v *Volume) watch(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			v.mu.Lock()
			done := v.expire(nil, now)
			for _, r := range v.replicas {
				v.look(r, now)
			}
			v.mu.Unlock()
			call(done)
			v.drain()
		case <-ctx.Done():
			return
		}
	}
}

// expire fails the requests whose deadline has passed. Preconditions: mu is held.
func (v *Volume) expire(done []*Request, now time.Time) []*Request {
	for r := v.open.head; r != nil; {
		next := r.next
		if now.After(r.deadline) {
			err := fmt.Errorf("%w: no answer from %s", remote.Timeout, v.whereabouts())
			if v.fatal != nil {
				err = v.fatal
			}
			done = v.abandon(done, r, err)
		} else if v.fatal == nil {
			return done // those that follow have later ones, or were asked for by us
		} else {
			done = v.abandon(done, r, v.fatal)
		}
		r = next
	}
	return done
}

// whereabouts tells what is known of the replicas, for errors.
// Preconditions: mu is held.
func (v *Volume) whereabouts() string {
	text := ""
	for i, r := range v.replicas {
		if i > 0 {
			text += ", "
		}
		text += r.address
		switch {
		case r.conn != nil:
			text += " (connected)"
		case r.failure != nil:
			text += fmt.Sprintf(" (%v)", r.failure)
		}
	}
	return text
}

// look asks a quiet monitor for a sign of life, cuts one that gives none, and
// votes out a member that stays away. Preconditions: mu is held.
func (v *Volume) look(r *replica, now time.Time) {
	if r.conn != nil {
		quiet := now.Sub(r.heard)
		switch {
		case quiet > silence:
			r.cut()
		case quiet > asking && now.Sub(r.asked) > asking:
			r.asked = now
			req := &Request{Op: wire.Ping, only: r, Done: func(*Request) {}, deadline: now.Add(v.cfg.Timeout), counted: 1}
			v.open.pushBack(req)
			r.enqueue(req, true)
		}
		return
	}
	if r.state == member && now.Sub(r.since) > v.cfg.Grace {
		v.voteOut(r)
	}
}
