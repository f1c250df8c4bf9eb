package storage

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"splitvm/remote/transport"
)

// dataServer serves volumes to any number of connections.
type dataServer struct {
	store   *Store
	log     *slog.Logger
	metrics *metrics
	boot    [16]byte      // one life of this host
	timeout time.Duration // for a message that has begun, and for taking an answer
	wg      sync.WaitGroup

	mu     sync.Mutex
	closed bool               // guarded by mu
	conns  map[*conn]struct{} // guarded by mu
}

// messageTimeout bounds how long a peer takes for a message that it has begun, and
// for taking its answers.
const messageTimeout = 10 * time.Second

func newDataServer(s *Store, log *slog.Logger) *dataServer {
	return &dataServer{store: s, log: log, metrics: newMetrics(s.dir), boot: bootID(), timeout: messageTimeout, conns: map[*conn]struct{}{}}
}

// bootID tells one life of this host from the next: what was not flushed survives
// the monitor's end, but not the host's.
func bootID() (id [16]byte) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err == nil {
		hex.Decode(id[:], bytes.ReplaceAll(bytes.TrimSpace(text), []byte("-"), nil))
	}
	return id
}

// serve serves one connection, which it takes over, in the background.
func (s *dataServer) serve(nc net.Conn) {
	tc, err := transport.FromNet(nc)
	if err != nil {
		s.log.Warn("connection refused", "err", err)
		return
	}
	c := newConn(s, tc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		tc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.metrics.connections.Inc()
	s.wg.Go(func() {
		c.serve()
		s.metrics.connections.Dec()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

// close cuts all connections and waits until they are gone.
func (s *dataServer) close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.conn.Shutdown()
	}
	s.mu.Unlock()
	s.wg.Wait()
}
