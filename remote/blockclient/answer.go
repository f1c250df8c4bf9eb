package blockclient

import (
	"fmt"
	"slices"
	"time"

	"splitvm/remote"
	"splitvm/remote/blockwire"
	"splitvm/remote/wire"
)

// answer completes the part that the header in r.head belongs to.
func (r *replica) answer(s *wire.Stream) error {
	h := &r.head
	v := r.v
	v.mu.Lock()
	r.heard = time.Now()
	p := r.flying(h.ID)
	switch {
	case p == nil:
		v.mu.Unlock()
		return s.Skip(int(h.Length))
	case p.req.Op != h.Op.Request():
		v.mu.Unlock()
		return errAnswer
	case h.Length > 0 || p.req.Op == blockwire.Read && h.Status == remote.OK:
		p.state = landing
		v.mu.Unlock()
		if err := r.body(s, p.req); err != nil {
			return err
		}
		v.mu.Lock()
	}
	r.land(p)
	r.done = v.complete(r.done[:0], r, p, h)
	r.corked = true
	v.mu.Unlock()
	call(r.done)
	v.drain() // there is a slot now, or a held request goes on
	return nil
}

// body receives the body of the answer to req.
func (r *replica) body(s *wire.Stream, req *Request) error {
	h := &r.head
	switch {
	case h.Status != remote.OK:
		return errAnswer
	case req.Op == blockwire.Read:
		if uint64(h.Length) != req.Length {
			return errAnswer
		}
		return s.Fill(req.Memory)
	case h.Length > wire.MaxMeta:
		return errAnswer
	}
	b, err := s.Take(int(h.Length))
	req.reply = append(req.reply[:0], b...)
	return err
}

// complete notes a replica's answer. Preconditions: mu is held.
func (v *Volume) complete(done []*Request, r *replica, p *part, h *wire.Header) []*Request {
	req := p.req
	if !req.open {
		return done
	}
	if h.Status != remote.OK {
		return v.refused(done, r, p, h.Status)
	}
	req.replyAt = h.Offset
	req.gens[r.index] = h.Offset
	if p.counts {
		req.acked++
	} else {
		req.counted--
	}
	return v.settle(done, req)
}

// refused notes that a replica could not do its part.
// Preconditions: mu is held.
func (v *Volume) refused(done []*Request, r *replica, p *part, kind remote.Kind) []*Request {
	req := p.req
	p.err = fmt.Errorf("storage monitor %s: %s: %w", r.address, blockwire.Name(req.Op), kind)
	switch {
	case kind == remote.StaleEpoch || kind == remote.NoVolume:
		if req.only == nil {
			return v.fail(done, p.err)
		}
		return v.finish(done, req, p.err)
	case req.only != nil:
		return v.finish(done, req, p.err)
	case !p.counts: // a join that can't go on
		req.counted--
		r.state = away
		r.cut()
		return v.settle(done, req)
	case req.Op == blockwire.Read:
		req.tried |= 1 << r.index
		return v.routeRead(done, req)
	}
	req.failed++
	r.stuck.pushBack(p)
	return v.settle(done, req)
}

// settle finishes a request that all replicas have answered which count. Where
// only some could do it, the others are voted out first.
// Preconditions: mu is held.
func (v *Volume) settle(done []*Request, req *Request) []*Request {
	switch {
	case req.acked+req.failed < req.counted:
		return done
	case req.failed > 0 && req.acked > 0:
		for _, r := range v.replicas {
			if r.state == member && req.parts[r.index].in == &r.stuck {
				v.voteOut(r)
			}
		}
		return done
	}
	var err error
	for _, r := range v.replicas {
		if p := &req.parts[r.index]; p.counts && p.err != nil && req.failed > 0 {
			err = p.err
			p.remove()
		}
	}
	switch {
	case req.only != nil || err != nil:
	case req.Op == blockwire.Flush:
		v.noteFlush(req)
	case req.changes() && !req.Durable:
		v.changed++
	}
	return v.finish(done, req, err)
}

// fail ends the volume: every request fails with err from now on.
// Preconditions: mu is held.
func (v *Volume) fail(done []*Request, err error) []*Request {
	if v.fatal == nil {
		v.fatal = fmt.Errorf("volume %q: %w", v.cfg.Name, err)
		v.over.Store(&v.fatal)
		if remote.KindOf(err) != remote.Closed {
			v.cfg.Log.Error("volume can't be used any more", "volume", v.cfg.Name, "err", err)
		}
	}
	for _, r := range v.replicas {
		r.cut() // what is being received or sent ends; its reader finishes that
	}
	for req := v.open.head; req != nil; {
		next := req.next
		done = v.abandon(done, req, v.fatal)
		req = next
	}
	v.held = nil
	return done
}

// abandon finishes a request with an error though replicas may still be at it.
// One whose memory is in the hands of the system is left for when its connection
// has been cut. Preconditions: mu is held.
func (v *Volume) abandon(done []*Request, req *Request, err error) []*Request {
	busy := false
	for _, r := range v.replicas {
		p := &req.parts[r.index]
		if p.state == landing || p.state == flying && r.sending {
			busy = true
			r.cut()
		}
	}
	if busy {
		return done
	}
	for _, r := range v.replicas {
		if p := &req.parts[r.index]; p.req == req {
			r.land(p)
			p.req = nil
		}
	}
	v.held = slices.DeleteFunc(v.held, func(h *Request) bool { return h == req })
	return v.finish(done, req, err)
}
