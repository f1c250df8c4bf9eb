package client

import (
	"log/slog"
	"slices"
	"sync"
	"testing"

	"splitvm/remote"
	"splitvm/remote/wire"
)

// Requests on the way when a connection ends are asked again, in order, on the
// next one, and half a payload is forgotten.
func TestReconnect(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  func(p *peerConn, h wire.Header)
	}{
		{"before the answer", func(*peerConn, wire.Header) {}},
		{"in the header", func(p *peerConn, h wire.Header) {
			p.Write(encoded(wire.Header{Op: h.Op, ID: h.ID}, lineOf(h))[:20])
		}},
		{"in the payload", func(p *peerConn, h wire.Header) {
			p.Write(encoded(wire.Header{Op: h.Op, ID: h.ID}, lineOf(h))[:5000])
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var order []uint64 // guarded by mu
			p := newPeer(t, nil, func(p *peerConn, n int) {
				for i := 0; ; i++ {
					h, _, err := p.request()
					if err != nil {
						return
					}
					if n == 1 {
						if i == 2 {
							c.cut(p, h)
							return
						}
						continue
					}
					mu.Lock()
					order = append(order, h.Offset)
					mu.Unlock()
					p.oblige(h)
				}
			})
			cl := p.dial(Config{})
			var all []*pending
			var rs []*Request
			for i := range 6 {
				op := wire.Read
				if i == 1 {
					op = wire.Write
				}
				r := newPending(op, i*10, 2)
				r.Class = wire.Bulk
				all, rs = append(all, r), append(rs, &r.Request)
			}
			cl.SubmitAll(rs)
			for i, r := range all {
				if err := r.wait(t); err != nil || r.Op == wire.Read && !holds(r.mem, i*10) {
					t.Errorf("request %d: %v", i, err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(order, []uint64{0, 10, 20, 30, 40, 50}) {
				t.Errorf("asked again in the order %v", order)
			}
			if n := p.connections(wire.Demand); n != 1 {
				t.Errorf("the demand connection was made %d times", n)
			}
		})
	}
}

// A peer that talks nonsense is left, and the request asked again elsewhere.
func TestNonsense(t *testing.T) {
	for name, nonsense := range map[string]func(p *peerConn, h wire.Header){
		"garbage":              func(p *peerConn, h wire.Header) { p.Write(make([]byte, 100)) },
		"a request":            func(p *peerConn, h wire.Header) { b := encoded(h, nil); h.Encode(b); p.Write(b) },
		"answer of another op": func(p *peerConn, h wire.Header) { p.answer(wire.Header{Op: wire.Write, ID: h.ID}, nil) },
		"too long":             func(p *peerConn, h wire.Header) { p.answer(wire.Header{Op: h.Op, ID: h.ID}, make([]byte, 3*4096)) },
		"too short":            func(p *peerConn, h wire.Header) { p.answer(wire.Header{Op: h.Op, ID: h.ID}, make([]byte, 4096)) },
		"zero with payload": func(p *peerConn, h wire.Header) {
			p.answer(wire.Header{Op: h.Op, ID: h.ID, Flags: wire.FlagZero}, make([]byte, 8192))
		},
		"refusal with a body": func(p *peerConn, h wire.Header) {
			p.answer(wire.Header{Op: h.Op, ID: h.ID, Status: remote.Full}, make([]byte, 8192))
		},
		"map without its words": func(p *peerConn, h wire.Header) {
			p.answer(wire.Header{Op: h.Op, ID: h.ID, Flags: wire.FlagMap}, make([]byte, 7))
		},
		"map of more lines": func(p *peerConn, h wire.Header) {
			p.answer(wire.Header{Op: h.Op, ID: h.ID, Flags: wire.FlagMap}, append([]byte{5, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 4096)...))
		},
		"map that does not add up": func(p *peerConn, h wire.Header) {
			p.answer(wire.Header{Op: h.Op, ID: h.ID, Flags: wire.FlagMap}, append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 8192)...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, func(p *peerConn, n int) {
				h, _, err := p.request()
				if err != nil {
					return
				}
				if n == 1 {
					nonsense(p, h)
					p.request() // until the client leaves
					return
				}
				p.oblige(h)
				obliging(p, n)
			}, nil)
			c := p.dial(Config{})
			r := newPending(wire.Read, 5, 2)
			c.Submit(&r.Request)
			if err := r.wait(t); err != nil || !holds(r.mem, 5) || !r.Zero.None() {
				t.Errorf("%v, zero %v", err, r.Zero)
			}
			if n := p.connections(wire.Demand); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

// An answer to nobody is skipped.
func TestUnknownAnswer(t *testing.T) {
	p := newPeer(t, func(p *peerConn, n int) {
		h, _, err := p.request()
		if err != nil {
			return
		}
		p.answer(wire.Header{Op: wire.Read, ID: h.ID + maxWindow}, make([]byte, 50000))
		p.answer(wire.Header{Op: wire.Read, ID: 0xffffffff}, nil)
		p.oblige(h)
		obliging(p, n)
	}, nil)
	c := p.dial(Config{Window: 5})
	r := newPending(wire.Read, 5, 2)
	c.Submit(&r.Request)
	if err := r.wait(t); err != nil || !holds(r.mem, 5) || p.connections(wire.Demand) != 1 {
		t.Error(err)
	}
}

// A payload that does not match its checksum is an error of that request alone.
func TestCorruptPayload(t *testing.T) {
	p := newPeer(t, func(p *peerConn, n int) {
		for i := 0; ; i++ {
			h, _, err := p.request()
			if err != nil {
				return
			}
			body := lineOf(h)
			var s wire.BodySum
			s.Reset(nil)
			for j := range int(h.Count) {
				s.AddLine(wire.LineSum(body[j*4096:][:4096]))
			}
			if i == 0 {
				body[4095] ^= 1
			}
			p.answer(wire.Header{Op: h.Op, ID: h.ID, Flags: wire.FlagSum, Sum: s.Sum()}, body)
		}
	}, nil)
	p.set(func() { p.options = wire.OptSums })
	c := p.dial(Config{Checksums: true})
	for i, want := range []remote.Kind{remote.Corrupt, remote.OK} {
		r := newPending(wire.Read, 7, 3)
		c.Submit(&r.Request)
		wantKind(t, "read "+string(rune('1'+i)), r.wait(t), want)
	}
	if n := p.connections(wire.Demand); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// A monitor that is another process than before is not trusted with anything.
func TestRestarted(t *testing.T) {
	p := newPeer(t, nil, func(p *peerConn, n int) {
		if n == 1 {
			p.request()
			return
		}
		obliging(p, n)
	})
	c := p.dial(Config{})
	p.set(func() { p.instance++ })
	r := newPending(wire.Write, 1, 1)
	r.Class = wire.Bulk
	c.Submit(&r.Request)
	wantKind(t, "write on the way", r.wait(t), remote.Restarted)
	for _, class := range []wire.Class{wire.Demand, wire.Bulk} {
		r := newPending(wire.Read, 1, 1)
		r.Class = class
		c.Submit(&r.Request)
		wantKind(t, "read afterwards, "+class.String(), r.wait(t), remote.Restarted)
	}
}

func TestFenced(t *testing.T) {
	p := newPeer(t, nil, nil)
	p.set(func() { p.refuse = remote.Fenced })
	_, err := Dial(t.Context(), Config{Address: p.l.Addr().String(), Log: slog.New(slog.DiscardHandler)})
	wantKind(t, "dial", err, remote.Fenced)
}
