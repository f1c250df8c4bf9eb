package memory_test

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"splitvm/remote"
	"splitvm/remote/server"
	"splitvm/remote/wire"
)

// parking is a store whose first commit waits at a point until it is released.
type parking struct {
	server.Store
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

// greeting sends hello and tells when it was answered.
func (p *rawPeer) greeting(g wire.Greeting) <-chan error {
	b := make([]byte, wire.HelloSize)
	g.Encode(b)
	p.send(wire.Header{Op: wire.Hello}, b)
	answered := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(p, make([]byte, wire.HeaderSize+wire.WelcomeSize))
		answered <- err
	}()
	return answered
}

// TestOldWriteIsOverBeforeAnyWelcome: while a write of an older incarnation is
// being executed, no connection of the new one is welcomed, whichever class comes
// first, so what the new one writes is never undone.
func TestOldWriteIsOverBeforeAnyWelcome(t *testing.T) {
	for _, first := range []wire.Class{wire.Demand, wire.Bulk} {
		t.Run(first.String()+" first", func(t *testing.T) {
			store := newStore(t, 1024)
			hold(t, store, 1, 7)
			p := &parking{Store: store, first: make(chan struct{}, 1), parked: make(chan struct{}), release: make(chan struct{})}
			p.first <- struct{}{}
			addr := serveStore(t, p)
			old := [wire.Classes]*rawPeer{}
			for c := range wire.Class(wire.Classes) {
				old[c] = greeted(t, addr, wire.Greeting{Class: c, Session: 9, Incarnation: 1, Attempt: 1})
			}
			old[wire.Bulk].send(header(wire.Write, 1, 0, 1), filled(1, 8))
			<-p.parked

			second := wire.Demand + wire.Bulk - first
			a, b := rawDial(t, addr), rawDial(t, addr)
			aWelcome := a.greeting(wire.Greeting{Class: first, Session: 9, Incarnation: 2, Attempt: 1})
			old[wire.Demand].wantClosed("displaced") // so the first is known, and waits
			bWelcome := b.greeting(wire.Greeting{Class: second, Session: 9, Incarnation: 2, Attempt: 1})
			select {
			case <-aWelcome:
				t.Error("first connection was welcomed while an old write is executed")
			case <-bWelcome:
				t.Error("second connection was welcomed while an old write is executed")
			case <-time.After(200 * time.Millisecond): // long enough for a wrong welcome, and no more than that
			}
			close(p.release)
			if t.Failed() {
				return
			}
			for _, welcome := range []<-chan error{aWelcome, bWelcome} {
				if err := <-welcome; err != nil {
					t.Fatalf("not welcomed after the old write was over: %v", err)
				}
			}
			b.send(header(wire.Write, 1, 0, 1), filled(1, 9))
			if h, _ := b.receive(); h.Status != remote.OK {
				t.Errorf("new write: %v", h.Status)
			}
			wantLines(t, store, 0, 1, 9)
		})
	}
}

// serveStore serves any store in this process.
func serveStore(t *testing.T, store server.Store) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := server.New(server.Config{Store: store, Log: slog.New(slog.DiscardHandler)})
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}
