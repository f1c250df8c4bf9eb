package handoff

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"splitvm/monitors/memory"
	"splitvm/remote"
	"splitvm/remote/server"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// answers collects what WriteDone is told.
type answers chan error

func (a answers) WriteDone(err error) { a <- err }

// slowGreeting forwards connections to a monitor, but holds those of one class
// back until release is closed, as a monitor does that waits for an older incarnation.
func slowGreeting(t *testing.T, monitor string, class wire.Class, release <-chan struct{}) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go forward(c, monitor, class, release)
		}
	}()
	return l.Addr().String()
}

func forward(c net.Conn, monitor string, class wire.Class, release <-chan struct{}) {
	defer c.Close()
	hello := make([]byte, wire.HeaderSize+wire.HelloSize)
	if _, err := io.ReadFull(c, hello); err != nil {
		return
	}
	if wire.Class(hello[wire.HeaderSize]) == class {
		<-release
	}
	m, err := net.Dial("tcp", monitor)
	if err != nil {
		return
	}
	defer m.Close()
	m.Write(hello)
	go io.Copy(c, m)
	io.Copy(m, c)
}

func startStore(t *testing.T) string {
	t.Helper()
	store, err := memory.NewStore(memory.StoreConfig{Mem: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	srv := server.New(server.Config{Store: store, Log: slog.New(slog.DiscardHandler)})
	l, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

// TestWritesWaitForBothGreetings: no write goes out on one connection while the
// monitor may still be busy with an older incarnation on behalf of the other.
func TestWritesWaitForBothGreetings(t *testing.T) {
	at := remote.Owned{VRegion: 1, Epoch: 1}
	runs, mem := []remote.Run{{First: 3, Count: 1}}, [][]byte{make([]byte, remote.LineSize)}
	mem[0][0] = 1
	for _, class := range []wire.Class{wire.Demand, wire.Bulk} {
		t.Run(class.String(), func(t *testing.T) {
			monitor := startStore(t)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			dialer := Remote{Log: slog.New(slog.DiscardHandler)}
			direct, err := dialer.Dial(ctx, monitor, 9, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer direct.Close()
			if err := direct.Create(ctx, at, 16); err != nil {
				t.Fatal(err)
			}
			release := make(chan struct{})
			p, err := dialer.Dial(ctx, slowGreeting(t, monitor, class, release), 5, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			done := make(answers, 1)
			p.StartWrite(at, runs, mem, done)
			select {
			case err := <-done:
				t.Fatalf("written before both connections were greeted (%v)", err)
			case <-time.After(200 * time.Millisecond):
			}
			if s, err := direct.Stat(ctx, at.VRegion); err != nil || s.Held != 0 {
				t.Errorf("monitor has %d lines, %v", s.Held, err)
			}
			close(release)
			if err := <-done; err != nil {
				t.Errorf("write after the greetings: %v", err)
			}
		})
	}
}

// TestClosedPeerFailsWrites: what was held back, and what comes later, ends.
func TestClosedPeerFailsWrites(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	p, err := Remote{Log: slog.New(slog.DiscardHandler)}.Dial(context.Background(), slowGreeting(t, startStore(t), wire.Demand, release), 5, 1)
	if err != nil {
		t.Fatal(err)
	}
	done := make(answers, 2)
	p.StartDiscard(remote.Owned{VRegion: 1, Epoch: 1}, []remote.Run{{Count: 1}}, done)
	p.Close()
	p.StartDiscard(remote.Owned{VRegion: 1, Epoch: 1}, []remote.Run{{Count: 1}}, done)
	for range 2 {
		if err := <-done; remote.KindOf(err) != remote.Closed {
			t.Errorf("ended with %v, want Closed", err)
		}
	}
}
