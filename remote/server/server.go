package server

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"splitvm/remote"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// Config is what a Server serves and how.
type Config struct {
	Store   Store
	Monitor remote.MonitorID
	// Stats returns what the operation STATS answers, as JSON of at most
	// wire.MaxMeta bytes. Optional.
	Stats func() ([]byte, error)
	// Options are those that the server agrees to when a client asks.
	Options wire.Options
	// Share are files that clients on shm: listeners get; they stay open until Close.
	Share []*os.File
	// MessageTimeout bounds the time that a peer may take to send a message
	// that it has begun, and to take an answer. Default 10 s.
	MessageTimeout time.Duration
	// MaxConns bounds the connections; one costs a thread and about 100 KiB.
	// Default 4096.
	MaxConns int
	// Spin is for how long a demand connection polls before it blocks.
	Spin time.Duration
	Log  *slog.Logger
}

// Server serves one store to any number of connections.
type Server struct {
	cfg      Config
	instance remote.InstanceID
	sessions sessions
	metrics  Metrics
	ctx      context.Context // ends with Close; given to the store's control calls
	cancel   context.CancelFunc
	wg       sync.WaitGroup // accept loops and connections

	closed atomic.Bool // set under mu

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
}

// New returns a server without listeners. Its instance id is new: a monitor
// process makes one server for the lines that it holds in memory.
func New(cfg Config) *Server {
	if cfg.MessageTimeout == 0 {
		cfg.MessageTimeout = 10 * time.Second
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 4096
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Server{
		cfg:       cfg,
		instance:  newInstance(),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]struct{}{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func newInstance() remote.InstanceID {
	var b [8]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return remote.InstanceID(binary.LittleEndian.Uint64(b[:]) | 1)
}

// Instance returns the id of this life of the monitor.
func (s *Server) Instance() remote.InstanceID { return s.instance }

// Metrics returns the server's counters.
func (s *Server) Metrics() *Metrics { return &s.metrics }

// Serve accepts connections on l until Close, when it returns nil, or until l
// fails for good. It closes l.
func (s *Server) Serve(l net.Listener) error {
	if !s.track(l) {
		l.Close()
		return fmt.Errorf("serve %v: %w", l.Addr(), remote.Closing)
	}
	defer s.wg.Done()
	defer s.untrack(l)
	transport.Share(l, s.cfg.Share...)
	pause := time.Duration(0)
	for {
		c, err := l.Accept()
		if err == nil {
			pause = 0
			s.accept(c)
			continue
		}
		if s.isClosed() {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("serve %v: %w", l.Addr(), err)
		}
		// Out of descriptors, most likely: they come back when peers leave.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.cfg.Log.Warn("accept failed", "listen", l.Addr().String(), "err", err, "retry", pause)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
	}
}

func (s *Server) accept(nc net.Conn) {
	tc, err := transport.FromNet(nc)
	if err != nil {
		s.cfg.Log.Warn("connection refused", "err", err)
		return
	}
	s.ServeConn(tc)
}

// ServeConn serves one connection, which it takes over, in the background.
func (s *Server) ServeConn(tc transport.Conn) {
	c := newConn(s, tc)
	s.mu.Lock()
	if full := len(s.conns) >= s.cfg.MaxConns; s.closed.Load() || full {
		s.mu.Unlock()
		tc.Close()
		if full {
			s.cfg.Log.Warn("connection refused: too many", "peer", tc.Peer(), "limit", s.cfg.MaxConns)
		}
		return
	}
	s.conns[c] = struct{}{}
	s.metrics.Connections.Add(1)
	s.wg.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.wg.Done()
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.metrics.Connections.Add(-1)
		s.mu.Unlock()
	}()
}

// Close stops listening, cuts all connections and waits until they are gone.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed.Store(true)
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.conn.Shutdown()
	}
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	return nil
}

func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return false
	}
	s.listeners[l] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) untrack(l net.Listener) {
	l.Close()
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
}

func (s *Server) isClosed() bool { return s.closed.Load() }
