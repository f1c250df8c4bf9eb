package blockclient

import (
	"slices"
	"time"

	"splitvm/remote"
	"splitvm/remote/blockwire"
)

// voteOut has the other members go on without r, if there are any: they are told
// a new epoch in which it is no member, and when that is on their disks, nothing
// waits for r any more. Members that are not connected go with it.
// Preconditions: mu is held.
func (v *Volume) voteOut(r *replica) {
	if v.voting || v.readOnly || r.state != member {
		return
	}
	stay := v.in(func(o *replica) bool { return o != r && o.state == member && o.conn != nil && !o.cutting })
	if len(stay) == 0 {
		return
	}
	for _, o := range v.replicas {
		if o.state == member && !slices.Contains(stay, o) {
			o.state = leaving
			v.cfg.Log.Warn("going on without a replica", "volume", v.cfg.Name, "monitor", o.address, "err", o.failure)
		}
	}
	v.voting = true
	v.epoch++
	v.claim(stay, v.ballot(stay), v.voted)
}

// in lists the replicas for which is holds. Preconditions: mu is held.
func (v *Volume) in(is func(*replica) bool) []*replica {
	var list []*replica
	for _, r := range v.replicas {
		if is(r) {
			list = append(list, r)
		}
	}
	return list
}

// ballot is the claim by which members become the members.
// Preconditions: mu is held.
func (v *Volume) ballot(members []*replica) blockwire.ClaimRequest {
	q := blockwire.ClaimRequest{Session: v.session, Steal: v.cfg.Steal}
	for _, r := range v.replicas {
		switch {
		case slices.Contains(members, r):
			q.Members = append(q.Members, r.opened.Monitor)
		case r.opened.Monitor != 0:
			q.Away = append(q.Away, r.opened.Monitor)
		}
	}
	return q
}

// claim sends a claim of the epoch to some replicas, in order with all else that
// is sent to them, and calls done with mu held when all have answered.
// Preconditions: mu is held; the caller drains.
func (v *Volume) claim(to []*replica, q blockwire.ClaimRequest, done func(finished []*Request, err error) []*Request) {
	waiting, failed := len(to), error(nil)
	meta := q.Append(nil)
	for _, r := range to {
		req := &Request{Op: blockwire.Claim, meta: meta, epoch: v.epoch, only: r, deadline: time.Now().Add(v.cfg.Timeout), counted: 1}
		req.Done = func(req *Request) {
			v.mu.Lock()
			var finished []*Request
			if req.Err != nil {
				failed = req.Err
			} else {
				r.claimed = true
			}
			if waiting--; waiting == 0 {
				finished = done(nil, failed)
			}
			v.mu.Unlock()
			call(finished)
			v.announce()
			v.drain()
		}
		v.seq++
		req.seq = v.seq
		v.open.pushBack(req)
		r.enqueue(req, true)
	}
}

// voted ends voteOut. Preconditions: mu is held.
func (v *Volume) voted(finished []*Request, err error) []*Request {
	v.voting = false
	kind := remote.KindOf(err)
	for _, r := range v.replicas {
		if r.state != leaving {
			continue
		}
		if err != nil {
			r.state = member // the next look votes again, with another epoch
			continue
		}
		r.state = away
		if r.conn != nil {
			r.cut() // and takeDown drops what it has
		} else {
			finished = v.drop(finished, r)
		}
	}
	if kind == remote.StaleEpoch || kind == remote.Busy {
		finished = v.fail(finished, err)
	}
	v.flushed = nil
	return finished
}

// drop takes everything from a replica that nothing waits for any more.
// Preconditions: mu is held, it is not connected.
func (v *Volume) drop(done []*Request, r *replica) []*Request {
	for _, list := range []*partList{&r.queue, &r.flight, &r.stuck} {
		for p := list.head; p != nil; p = list.head {
			failed := list == &r.stuck
			r.land(p)
			req := p.req
			switch {
			case !req.open:
			case req.only == r:
				done = v.finish(done, req, remote.Disconnected)
			case req.Op == blockwire.Read:
				done = v.routeRead(done, req)
			default:
				req.counted--
				if failed {
					req.failed--
				}
				p.err = nil
				done = v.settle(done, req)
			}
		}
	}
	return done
}

// rebooted deals with a replica that comes back from a restart of its host: what
// it had not flushed it has lost. An error if there is such; nothing is to be sent
// to it then as if it had all. The others go on without it as soon as one is
// connected, and it may join when that is on their disks; if all members have lost
// something, the volume ends. Preconditions: mu is held.
func (v *Volume) rebooted(done []*Request, r *replica) ([]*Request, error) {
	if v.readOnly || r.state != leaving && (r.state != member || !v.lost(r)) {
		return done, nil
	}
	r.bereft = true
	v.voteOut(r)
	if len(v.in(func(o *replica) bool { return (o.state == member || o.state == leaving) && !o.bereft })) == 0 {
		done = v.fail(done, errLost)
	}
	return done, errLost
}

// lost tells whether a member whose host was restarted has lost something:
// changes that are done, or what it alone has answered of one that is not, and
// that no flush has covered. Preconditions: mu is held.
func (v *Volume) lost(r *replica) bool {
	for q := v.open.head; q != nil; q = q.next {
		p := &q.parts[r.index]
		if q.changes() && !q.Durable && p.req == q && p.counts && p.state == idle && p.err == nil {
			return true
		}
	}
	return v.changed != v.safe
}
