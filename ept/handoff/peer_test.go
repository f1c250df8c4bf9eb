package handoff

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"splitvm/monitors/memory"
	"splitvm/remote"
	"splitvm/remote/server"
	"splitvm/remote/transport"
)

// answers collects what WriteDone is told.
type answers chan error

func (a answers) WriteDone(err error) { a <- err }

// parking is a store whose first commit waits at a point until it is released.
type parking struct {
	*memory.Store
	first   chan struct{} // has one token
	parked  chan struct{} // closed when the commit waits
	release chan struct{}
}

func (p *parking) Commit(at remote.Owned, runs []remote.Run, f *server.Filling) error {
	select {
	case <-p.first:
		close(p.parked)
		<-p.release
	default:
	}
	return p.Store.Commit(at, runs, f)
}

func startParking(t *testing.T) (*parking, string) {
	t.Helper()
	store, err := memory.NewStore(memory.StoreConfig{Mem: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	p := &parking{Store: store, first: make(chan struct{}, 1), parked: make(chan struct{}), release: make(chan struct{})}
	srv := server.New(server.Config{Store: p, Log: slog.New(slog.DiscardHandler)})
	l, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return p, l.Addr().String()
}

func dialPeer(t *testing.T, addr string, incarnation uint64) Peer {
	t.Helper()
	p, err := Remote{Log: slog.New(slog.DiscardHandler)}.Dial(t.Context(), addr, 5, incarnation)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestWriteAfterThatOfAnotherPager: what a pager writes stays, although its
// predecessor's write of the same line is still being executed when it starts.
func TestWriteAfterThatOfAnotherPager(t *testing.T) {
	at := remote.Owned{VRegion: 1, Epoch: 1}
	runs := []remote.Run{{First: 3, Count: 1}}
	line := func(b byte) [][]byte {
		mem := make([]byte, remote.LineSize)
		mem[0] = b
		return [][]byte{mem}
	}
	store, addr := startParking(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := store.Create(ctx, at, 16); err != nil {
		t.Fatal(err)
	}
	old, written := dialPeer(t, addr, 1), make(answers, 2)
	store.first <- struct{}{}
	old.StartWrite(at, runs, line(1), written)
	<-store.parked
	next := dialPeer(t, addr, 2)
	newer := make(answers, 1)
	next.StartWrite(at, runs, line(2), newer)
	select {
	case err := <-newer:
		t.Errorf("written while an old write is executed (%v)", err)
	case <-time.After(200 * time.Millisecond): // long enough for what is wrong, and no more than that
	}
	close(store.release)
	if t.Failed() {
		return
	}
	if err := <-newer; err != nil {
		t.Fatalf("write of the new pager: %v", err)
	}
	if err := <-written; remote.KindOf(err) != remote.Fenced {
		t.Errorf("write of the old pager ended with %v, want Fenced", err)
	}
	mem := line(0)
	if _, err := store.ReadLines(ctx, at, runs, mem); err != nil || mem[0][0] != 2 {
		t.Errorf("the line is that of write %d, want 2 (%v)", mem[0][0], err)
	}
}

// TestClosedPeerFailsWrites: what waits for a connection, and what comes later,
// ends.
func TestClosedPeerFailsWrites(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // whose backlog takes a connection, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, done := dialPeer(t, l.Addr().String(), 1), make(answers, 2)
	p.StartDiscard(remote.Owned{VRegion: 1, Epoch: 1}, []remote.Run{{Count: 1}}, done)
	p.Close()
	p.StartDiscard(remote.Owned{VRegion: 1, Epoch: 1}, []remote.Run{{Count: 1}}, done)
	for range 2 {
		if err := <-done; remote.KindOf(err) != remote.Closed {
			t.Errorf("ended with %v, want Closed", err)
		}
	}
}
