package transport

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// shared is a Conn through two rings in memory that both processes have mapped.
// A unix socket stays open beside it and carries nothing: its end says that the
// peer has gone, however it went.
type shared struct {
	in, out            *ring
	mem                []byte
	life               *net.UnixConn
	peer               string
	files              []*os.File  // that the server shares; see FilesOf
	gone               atomic.Bool // the peer has gone; what it sent before may still be taken
	recvWait, sendWait time.Duration
	watcher            sync.WaitGroup

	mu   sync.Mutex
	shut atomic.Bool // shut down or closed; set under mu
}

var _ Conn = (*shared)(nil)

// newShared takes over mem and life.
func newShared(mem []byte, life *net.UnixConn, peer string, server bool) *shared {
	s := &shared{mem: mem, life: life, peer: peer}
	s.in, s.out = ringAt(mem), ringAt(mem[ringBytes:])
	s.in.order = s.out.order
	if server {
		s.in, s.out = s.out, s.in
	}
	s.watcher.Go(s.watch)
	return s
}

// watch waits for the end of the socket, in the runtime's poller.
func (s *shared) watch() {
	var b [16]byte
	for {
		if _, err := s.life.Read(b[:]); err != nil {
			break
		}
	}
	s.gone.Store(true)
	s.in.rouse()
	s.out.rouse()
}

func (s *shared) ended() bool { return s.gone.Load() || s.shut.Load() }

// Recv implements Conn.
func (s *shared) Recv(v *Vec) (int, error) {
	for {
		n, err := s.TryRecv(v)
		if err != ErrWouldBlock {
			return n, err
		}
		if err := s.in.awaitData(s.recvWait, s.ended); err != nil {
			return 0, err
		}
	}
}

// TryRecv implements Conn.
func (s *shared) TryRecv(v *Vec) (int, error) {
	if s.shut.Load() {
		return 0, io.EOF
	}
	gone := s.gone.Load() // before looking: it sends nothing afterwards
	n, err := s.in.take(v)
	switch {
	case err != nil:
		return 0, fmt.Errorf("receive from %s: %w", s.peer, err)
	case n > 0:
		return n, nil
	case gone:
		return 0, io.EOF
	}
	return 0, ErrWouldBlock
}

// Send implements Conn.
func (s *shared) Send(v *Vec) (int, error) {
	for {
		n, err := s.TrySend(v)
		if err != ErrWouldBlock {
			return n, err
		}
		if err := s.out.awaitRoom(s.sendWait, s.ended); err != nil {
			return 0, err
		}
	}
}

// TrySend implements Conn.
func (s *shared) TrySend(v *Vec) (int, error) {
	if s.ended() {
		return 0, fmt.Errorf("send to %s: %w", s.peer, unix.EPIPE)
	}
	n, err := s.out.put(v)
	switch {
	case err != nil:
		return 0, fmt.Errorf("send to %s: %w", s.peer, err)
	case n == 0:
		return 0, ErrWouldBlock
	}
	return n, nil
}

// SetPatience implements Conn. Not to be called while Recv or Send is under way.
func (s *shared) SetPatience(recv, send time.Duration) error {
	s.recvWait, s.sendWait = recv, send
	return nil
}

// Shutdown implements Conn.
func (s *shared) Shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut.Swap(true) {
		return
	}
	s.life.Close()
	s.in.rouse()
	s.out.rouse()
}

// Close implements Conn.
func (s *shared) Close() error {
	s.Shutdown()
	s.watcher.Wait()
	closeFiles(s.files)
	s.mu.Lock()
	defer s.mu.Unlock()
	mem := s.mem
	if s.mem = nil; mem == nil {
		return nil
	}
	if err := unix.Munmap(mem); err != nil {
		return fmt.Errorf("close shared memory with %s: %w", s.peer, err)
	}
	return nil
}

// Peer implements Conn.
func (s *shared) Peer() string { return s.peer }
