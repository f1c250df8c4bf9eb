package client

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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

// Requests fail at their deadline whether the peer says nothing, takes nothing
// or is not there; and memory that the kernel was told of is not given back
// before the connection is down.
func TestDeadlines(t *testing.T) {
	silent := func(p *peerConn, n int) {
		for {
			if _, _, err := p.request(); err != nil {
				return
			}
		}
	}
	halfway := func(p *peerConn, n int) {
		h, _, err := p.request()
		if err != nil {
			return
		}
		p.Write(encoded(wire.Header{Op: h.Op, ID: h.ID}, make([]byte, 8192))[:6000])
		p.request()
	}
	for _, c := range []struct {
		name  string
		peer  script
		op    wire.Op
		reset bool
	}{
		{"read, silent peer", silent, wire.Read, true},
		{"write, silent peer", silent, wire.Write, true},
		{"discard, silent peer", silent, wire.Discard, true},
		{"read, peer stops in the payload", halfway, wire.Read, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, c.peer, nil)
			cl := p.dial(Config{Timeout: 200 * time.Millisecond})
			r := newPending(c.op, 0, 2)
			start := time.Now()
			cl.Submit(&r.Request)
			wantKind(t, "request", r.wait(t), remote.Timeout)
			if took := time.Since(start); took < 150*time.Millisecond || took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			for range 500 {
				if p.connections(wire.Demand) > 1 {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Error("the connection was kept")
		})
	}
}

// An answer that comes after its request was given up does no harm.
func TestLateAnswer(t *testing.T) {
	release := make(chan struct{})
	p := newPeer(t, func(p *peerConn, n int) {
		late, _, err := p.request()
		if err != nil {
			return
		}
		quick, _, err := p.request()
		if err != nil {
			return
		}
		p.oblige(quick)
		<-release
		p.oblige(late)
		obliging(p, n)
	}, nil)
	c := p.dial(Config{})
	late := newPending(wire.Read, 1, 2)
	late.Deadline = time.Now().Add(100 * time.Millisecond)
	quick := newPending(wire.Read, 50, 2)
	c.SubmitAll([]*Request{&late.Request, &quick.Request})
	if err := quick.wait(t); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "late", late.wait(t), remote.Timeout)
	clear(late.mem)
	close(release)
	next := newPending(wire.Read, 7, 1)
	c.Submit(&next.Request)
	if err := next.wait(t); err != nil || !holds(next.mem, 7) {
		t.Error(err)
	}
	if slices.ContainsFunc(late.mem, func(b byte) bool { return b != 0 }) {
		t.Error("a late answer wrote into memory that was given back")
	}
	if n := p.connections(wire.Demand); n != 1 {
		t.Errorf("%d connections, want 1: the peer was not silent", n)
	}
}

// Submit never waits, not for a peer that takes nothing either; and what it
// could not send fails in time.
func TestPeerTakesNothing(t *testing.T) {
	stop := make(chan struct{})
	p := newPeer(t, nil, func(p *peerConn, n int) { <-stop })
	t.Cleanup(func() { close(stop) }) // before the peer's own
	c := p.dial(Config{Timeout: 300 * time.Millisecond})
	var all []*pending
	start := time.Now()
	for i := range 64 {
		r := newPending(wire.Write, i, remote.MaxBatch)
		r.Class = wire.Bulk
		all = append(all, r)
		c.Submit(&r.Request)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("64 MiB were submitted in %v", took)
	}
	demand := newPending(wire.Read, 1, 1)
	c.Submit(&demand.Request)
	if err := demand.wait(t); err != nil {
		t.Errorf("a demand beside it: %v", err)
	}
	for _, r := range all {
		wantKind(t, "write", r.wait(t), remote.Timeout)
	}
}

func TestNotThere(t *testing.T) {
	c := New(Config{Address: "unix:" + filepath.Join(t.TempDir(), "none"), Timeout: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	defer c.Close()
	r := newPending(wire.Read, 1, 1)
	c.Submit(&r.Request)
	err := r.wait(t)
	wantKind(t, "read", err, remote.Timeout)
	if !strings.Contains(err.Error(), "no such file") {
		t.Errorf("does not say why: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = Dial(ctx, c.cfg)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("dial: %v", err)
	}
}

// Close ends everything: requests in all states, and goroutines.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	stop := make(chan struct{})
	p := newPeer(t, func(p *peerConn, n int) { <-stop }, func(p *peerConn, n int) { <-stop })
	c := p.dial(Config{Window: 4})
	var all []*pending
	for i := range 40 {
		r := newPending([]wire.Op{wire.Read, wire.Write, wire.Discard}[i%3], i, 64)
		r.Class = wire.Class(i % 2)
		all = append(all, r)
		c.Submit(&r.Request)
	}
	c.Close()
	for _, r := range all {
		wantKind(t, "request", r.wait(t), remote.Closed)
	}
	after := newPending(wire.Read, 1, 1)
	c.Submit(&after.Request)
	wantKind(t, "after Close", after.wait(t), remote.Closed)
	c.Close()
	close(stop)
	p.close()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

func TestCancel(t *testing.T) {
	stop := make(chan struct{})
	p := newPeer(t, func(p *peerConn, n int) { <-stop }, func(p *peerConn, n int) { <-stop })
	t.Cleanup(func() { close(stop) })
	c := p.dial(Config{Window: 1})
	for _, run := range []struct {
		name string
		call func(ctx context.Context) error
	}{
		{"read", func(ctx context.Context) error {
			_, err := c.ReadLines(ctx, remote.Owned{VRegion: 1, Epoch: 1}, []remote.Run{{Count: 1}}, [][]byte{make([]byte, 4096)})
			return err
		}},
		{"write", func(ctx context.Context) error {
			return c.WriteLines(ctx, remote.Owned{VRegion: 1, Epoch: 1}, []remote.Run{{Count: 1}}, [][]byte{make([]byte, 4096)})
		}},
		{"create, queued behind a request", func(ctx context.Context) error {
			r := newPending(wire.Write, 1, 1)
			r.Class = wire.Bulk
			c.Submit(&r.Request)
			return c.Create(ctx, remote.Owned{VRegion: 1, Epoch: 1}, 1)
		}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		start := time.Now()
		wantKind(t, run.name, run.call(ctx), remote.Cancelled)
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("%s: took %v", run.name, took)
		}
	}
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
