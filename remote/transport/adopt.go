package transport

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// FromNet makes a Conn of c, a TCP or unix connection or one that a listener on
// shm: accepted. It takes the socket out of c, which it always consumes, makes
// it blocking and has it send without Nagle's delay.
func FromNet(c net.Conn) (Conn, error) {
	if o, ok := c.(sharedOffer); ok {
		return offer(o)
	}
	defer c.Close()
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("take over connection: %T has no descriptor", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(p uintptr) {
		fd, dupErr = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 3)
	}); err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	if dupErr != nil {
		return nil, fmt.Errorf("duplicate descriptor of connection: %w", dupErr)
	}
	s, err := newSocket(fd, peerName(c))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func newSocket(fd int, peer string) (*socket, error) {
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, fmt.Errorf("make connection to %s blocking: %w", peer, err)
	}
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, fmt.Errorf("socket family of connection to %s: %w", peer, err)
	}
	if family != unix.AF_UNIX {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return nil, fmt.Errorf("set TCP_NODELAY to %s: %w", peer, err)
		}
	}
	return &socket{fd: fd, peer: peer}, nil
}

// peerName is the remote address, or for a unix socket, whose clients have no
// name, the local one.
func peerName(c net.Conn) string {
	if a := c.RemoteAddr(); a != nil && a.String() != "" && a.String() != "@" {
		return a.String()
	}
	return "unix:" + c.LocalAddr().String()
}

// Pair returns two connected Conns of one process.
func Pair() (Conn, Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return &socket{fd: fds[0], peer: "pair"}, &socket{fd: fds[1], peer: "pair"}, nil
}
