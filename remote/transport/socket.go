package transport

import (
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a Conn over a blocking stream socket.
type socket struct {
	fd    int
	peer  string
	local bool // a network connection with a process on this host

	mu   sync.Mutex
	shut bool // shut down or closed; guarded by mu
}

var _ Conn = (*socket)(nil)

// Recv implements Conn.
func (s *socket) Recv(v *Vec) (int, error) {
	for {
		n, errno := v.call(unix.SYS_RECVMSG, s.fd, 0)
		if errno == unix.EINTR {
			continue
		}
		return s.received(v, n, errno)
	}
}

// TryRecv implements Conn.
func (s *socket) TryRecv(v *Vec) (int, error) {
	n, errno := v.callNonblock(unix.SYS_RECVMSG, s.fd, unix.MSG_DONTWAIT)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return 0, ErrWouldBlock
	}
	return s.received(v, n, errno)
}

func (s *socket) received(v *Vec, n int, errno unix.Errno) (int, error) {
	switch {
	case errno == unix.EAGAIN:
		return 0, ErrPatience
	case errno != 0:
		return 0, fmt.Errorf("receive from %s: %w", s.peer, errno)
	case n == 0:
		return 0, io.EOF
	}
	v.Consume(n)
	return n, nil
}

// Send implements Conn.
func (s *socket) Send(v *Vec) (int, error) {
	for {
		n, errno := v.call(unix.SYS_SENDMSG, s.fd, unix.MSG_NOSIGNAL)
		if errno == unix.EINTR {
			continue
		}
		return s.sent(v, n, errno)
	}
}

// TrySend implements Conn.
func (s *socket) TrySend(v *Vec) (int, error) {
	n, errno := v.callNonblock(unix.SYS_SENDMSG, s.fd, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return 0, ErrWouldBlock
	}
	return s.sent(v, n, errno)
}

func (s *socket) sent(v *Vec, n int, errno unix.Errno) (int, error) {
	switch {
	case errno == unix.EAGAIN:
		return 0, ErrPatience
	case errno != 0:
		return 0, fmt.Errorf("send to %s: %w", s.peer, errno)
	}
	v.Consume(n)
	return n, nil
}

// SetPatience implements Conn.
func (s *socket) SetPatience(recv, send time.Duration) error {
	r := unix.NsecToTimeval(recv.Nanoseconds())
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &r); err != nil {
		return fmt.Errorf("set receive timeout of %s: %w", s.peer, err)
	}
	w := unix.NsecToTimeval(send.Nanoseconds())
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &w); err != nil {
		return fmt.Errorf("set send timeout of %s: %w", s.peer, err)
	}
	return nil
}

// Shutdown implements Conn.
func (s *socket) Shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.shut {
		s.shut = true
		unix.Shutdown(s.fd, unix.SHUT_RDWR) // fails only where the peer was faster
	}
}

// Close implements Conn.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true // the descriptor's number may soon be another's
	if err := unix.Close(s.fd); err != nil {
		return fmt.Errorf("close connection to %s: %w", s.peer, err)
	}
	return nil
}

// Peer implements Conn.
func (s *socket) Peer() string { return s.peer }
