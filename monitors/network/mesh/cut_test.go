package mesh

import (
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// relay leads to a host's mesh, and may be cut.
type relay struct {
	net.Listener
	to string

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

// relay puts one in front of a host.
func (w *world) relay(s *site) *relay {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	r := &relay{Listener: l, to: s.mesh.Addr().String()}
	w.table.Hosts[s.id] = l.Addr().String()
	w.apply()
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			ended.Go(func() { r.carry(c) })
		}
	})
	w.t.Cleanup(func() { l.Close(); r.cut(); ended.Wait() })
	return r
}

func (r *relay) carry(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer out.Close()
	r.mu.Lock()
	r.conns = append(r.conns, in, out)
	r.mu.Unlock()
	io.Copy(out, in)
}

// cut ends all connections, and returns their number.
func (r *relay) cut() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.conns) / 2
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
	return n
}

// Guests' connections go on when links are cut again and again, in the middle of frames
// too, and when a host takes frames at another address.
func TestLinksAreCut(t *testing.T) {
	w := newWorld(t, 2)
	a, _ := w.join(w.sites[0], "a", "front")
	b, _ := w.join(w.sites[1], "b", "front")
	relays := []*relay{w.relay(w.sites[0]), w.relay(w.sites[1])}
	c := dial(t, a, echo(b, 7))
	var cuts atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; i < 10 || cuts.Load() < 5 && !t.Failed(); i++ {
			talk(t, c, 1<<20)
		}
	}()
	for i := 0; ; i++ {
		select {
		case <-done:
			w.table.Hosts[2] = w.sites[1].mesh.Addr().String() // without a relay
			w.apply()
			talk(t, c, 1<<20)
			if got := w.sites[0].mesh.Stats().Connects + w.sites[1].mesh.Stats().Connects; got < uint64(cuts.Load()) {
				t.Errorf("%d links were cut, %d made", cuts.Load(), got)
			}
			return
		case <-time.After(30 * time.Millisecond):
			if cuts.Load() < 20 {
				cuts.Add(int64(relays[i%2].cut()))
			}
		}
	}
}

// Nothing runs on after a mesh is closed: not what waits for a host that does not
// answer, nor what took frames of one that does not end.
func TestCloseLeavesNothing(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("world", func(t *testing.T) {
		w := newWorld(t, 2)
		w.table.Hosts[3], w.table.Hosts[4] = silent.Addr().String(), "127.0.0.1:1"
		a, _ := w.join(w.sites[0], "a", "front")
		b, _ := w.join(w.sites[1], "b", "front")
		talk(t, dial(t, a, echo(b, 7)), 1000)
		c, err := net.Dial("tcp", w.sites[0].mesh.Addr().String()) // says nothing
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	})
	silent.Close()
	var left string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		left = string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(left, "mesh.(*Mesh)") && !strings.Contains(left, "mesh.(*link)") {
			return
		}
	}
	t.Errorf("left: %s", left)
}
