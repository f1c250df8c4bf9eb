package client

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"splitvm/remote"
	"splitvm/remote/wire"
)

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
			if took := time.Since(start); took < 150*time.Millisecond || took > ample {
				t.Errorf("took %v", took)
			}
			eventually(t, "the connection is given up", func() bool { return p.connections(wire.Demand) > 1 })
		})
	}
}

// eventually waits for what goes on beside the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(ample); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after %v: %s", ample, what)
		}
	}
}

// An answer that comes after its request was given up does no harm.
func TestLateAnswer(t *testing.T) {
	for limit := 100 * time.Millisecond; !lateAnswer(t, limit); limit *= 2 {
		t.Logf("nothing was answered within %v", limit)
	}
}

// lateAnswer has a request be given up after limit. It returns false, and shows
// nothing, if the peer seemed silent because another request had no answer by then.
func lateAnswer(t *testing.T, limit time.Duration) bool {
	t.Helper()
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
	late.Deadline = time.Now().Add(limit)
	quick := newPending(wire.Read, 50, 2)
	c.SubmitAll([]*Request{&late.Request, &quick.Request})
	if err := quick.wait(t); err != nil {
		t.Fatal(err)
	}
	if time.Now().After(late.Deadline) {
		close(release)
		late.wait(t)
		return false
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
	return true
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
	if took := time.Since(start); took > 15*time.Second { // 64 times the deadline, if each waited
		t.Errorf("64 MiB were submitted in %v", took)
	}
	demand := newPending(wire.Read, 1, 1)
	demand.Deadline = time.Now().Add(ample)
	c.Submit(&demand.Request)
	if err := demand.wait(t); err != nil {
		t.Errorf("a demand beside it: %v", err)
	}
	for _, r := range all {
		wantKind(t, "write", r.wait(t), remote.Timeout)
	}
}

// A monitor that is not there is an error at the deadline, which says why if there
// was time for a try.
func TestNotThere(t *testing.T) {
	cfg := Config{Address: "unix:" + filepath.Join(t.TempDir(), "none"), Log: slog.New(slog.DiscardHandler)}
	saysWhy(t, "read", func(limit time.Duration) error {
		cfg.Timeout = limit
		c := New(cfg)
		defer c.Close()
		r := newPending(wire.Read, 1, 1)
		c.Submit(&r.Request)
		err := r.wait(t)
		wantKind(t, "read", err, remote.Timeout)
		return err
	})
	saysWhy(t, "dial", func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := Dial(ctx, cfg)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial: %v", err)
		}
		return err
	})
}

// saysWhy gives try more and more time for an error with a reason.
func saysWhy(t *testing.T, what string, try func(limit time.Duration) error) {
	t.Helper()
	for limit := 50 * time.Millisecond; ; limit *= 2 {
		err := try(limit)
		if strings.Contains(err.Error(), "no such file") {
			return
		}
		if limit > ample/4 {
			t.Fatalf("%s does not say why: %v", what, err)
		}
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
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

func TestCancel(t *testing.T) {
	stop := make(chan struct{})
	p := newPeer(t, func(p *peerConn, n int) { <-stop }, func(p *peerConn, n int) { <-stop })
	t.Cleanup(func() { close(stop) })
	c := p.dial(Config{Window: 1, Timeout: 2 * ample})
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
		if took := time.Since(start); took > ample {
			t.Errorf("%s: took %v", run.name, took)
		}
	}
}
