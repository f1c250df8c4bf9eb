package client

import (
	"slices"
	"testing"

	"splitvm/remote"
	"splitvm/remote/wire"
)

func wantKind(t *testing.T, what string, err error, want remote.Kind) {
	t.Helper()
	if remote.KindOf(err) != want {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// Answers may come in any order.
func TestAnswersInReverse(t *testing.T) {
	const n = 50
	p := newPeer(t, func(p *peerConn, _ int) {
		var hs []wire.Header
		for range n {
			h, _, err := p.request()
			if err != nil {
				return
			}
			hs = append(hs, h)
		}
		slices.Reverse(hs)
		for _, h := range hs {
			p.oblige(h)
		}
		obliging(p, 0)
	}, nil)
	c := p.dial(Config{})
	var all []*pending
	var rs []*Request
	for i := range n {
		r := newPending(wire.Read, i*10, 1+i%5)
		all, rs = append(all, r), append(rs, &r.Request)
	}
	c.SubmitAll(rs)
	for i, r := range all {
		if err := r.wait(t); err != nil || !holds(r.mem, i*10) {
			t.Errorf("request %d: %v", i, err)
		}
	}
}

// All of them get through a window that is much smaller.
func TestWindow(t *testing.T) {
	p := newPeer(t, nil, nil)
	c := p.dial(Config{Window: 3})
	var all []*pending
	for i := range 500 {
		r := newPending(wire.Read, i, 2)
		all = append(all, r)
		c.Submit(&r.Request)
	}
	for i, r := range all {
		if err := r.wait(t); err != nil || !holds(r.mem, i) {
			t.Fatalf("request %d: %v", i, err)
		}
	}
}

// A request can be used again from inside of its own Done.
func TestSubmitFromDone(t *testing.T) {
	p := newPeer(t, nil, nil)
	c := p.dial(Config{Window: 2})
	r := newPending(wire.Read, 0, 1)
	rounds := 0
	r.Request.Done = func(q *Request) {
		if q.Err != nil || !holds(r.mem, rounds) {
			t.Errorf("round %d: %v", rounds, q.Err)
		}
		if rounds++; rounds == 1000 || q.Err != nil {
			close(r.done)
			return
		}
		q.Runs[0].First = remote.Line(rounds)
		c.Submit(q)
	}
	c.Submit(&r.Request)
	r.wait(t)
}

func TestWrongRequests(t *testing.T) {
	p := newPeer(t, nil, nil)
	c := p.dial(Config{})
	for name, spoil := range map[string]func(r *pending){
		"class":          func(r *pending) { r.Class = wire.Classes },
		"no runs":        func(r *pending) { r.Runs = nil },
		"memory missing": func(r *pending) { r.Mem = nil },
		"half a line":    func(r *pending) { r.Mem[0] = r.Mem[0][:2048] },
		"too many lines": func(r *pending) { r.Runs[0].Count = 1000 },
	} {
		r := newPending(wire.Read, 1, 1)
		spoil(r)
		c.Submit(&r.Request)
		wantKind(t, name, r.wait(t), remote.Range)
	}
}
