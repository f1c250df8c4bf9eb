package memory_test

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// badNetwork is a proxy that cuts connections after random amounts of data. The
// client notices at once; what it had sent before may be delivered to the
// server much later, as a network with queues does.
type badNetwork struct {
	l       net.Listener
	to      string
	bad     atomic.Bool
	cuts    atomic.Int64
	late    atomic.Int64
	wg      sync.WaitGroup
	mu      sync.Mutex
	conns   []net.Conn
	stopped bool
}

func newBadNetwork(t *testing.T, to string) *badNetwork {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &badNetwork{l: l, to: to}
	n.wg.Go(n.accept)
	t.Cleanup(n.close)
	return n
}

func (n *badNetwork) addr() string { return n.l.Addr().String() }

// misbehave begins or ends the cutting.
func (n *badNetwork) misbehave(on bool) { n.bad.Store(on) }

func (n *badNetwork) accept() {
	for {
		c, err := n.l.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", n.to)
		if err != nil || !n.track(c, s) {
			c.Close()
			continue
		}
		n.wg.Go(func() { n.forward(c, s) })
		n.wg.Go(func() { n.back(s, c) })
	}
}

func (n *badNetwork) track(cs ...net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		for _, c := range cs {
			c.Close()
		}
		return false
	}
	n.conns = append(n.conns, cs...)
	return true
}

func (n *badNetwork) close() {
	n.l.Close()
	n.mu.Lock()
	n.stopped = true
	for _, c := range n.conns {
		c.Close()
	}
	n.mu.Unlock()
	n.wg.Wait()
}

// forward carries requests, and sometimes the last of them after the client has
// seen its connection end.
func (n *badNetwork) forward(c, s net.Conn) {
	defer s.Close()
	defer c.Close()
	left := rand.IntN(80_000)
	buf := make([]byte, 64<<10)
	for {
		k, err := c.Read(buf)
		if err != nil {
			return
		}
		if left -= k; left < 0 && n.bad.Load() {
			n.cuts.Add(1)
			c.Close()
			if rand.IntN(2) == 0 {
				n.late.Add(1)
				time.Sleep(rand.N(40 * time.Millisecond))
				if rand.IntN(2) == 0 {
					k = rand.IntN(k) + 1
				}
				s.Write(buf[:k])
				time.Sleep(rand.N(20 * time.Millisecond))
			}
			return
		}
		if _, err := s.Write(buf[:k]); err != nil {
			return
		}
	}
}

// back carries answers, cutting as well, and now and then holding all up for
// longer than a deadline.
func (n *badNetwork) back(s, c net.Conn) {
	defer c.Close()
	left := rand.IntN(400_000)
	buf := make([]byte, 64<<10)
	for {
		k, err := s.Read(buf)
		if err != nil {
			return
		}
		if n.bad.Load() && rand.IntN(3000) == 0 {
			time.Sleep(400 * time.Millisecond)
		}
		if left -= k; left < 0 && n.bad.Load() {
			n.cuts.Add(1)
			c.Write(buf[:rand.IntN(k)])
			return
		}
		if _, err := c.Write(buf[:k]); err != nil {
			return
		}
	}
}
