package transport

import (
	"fmt"
	"net"
	"net/netip"
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
	return &socket{fd: fd, peer: peer, local: family != unix.AF_UNIX && sameHost(fd)}, nil
}

// sameHost tells whether both ends of a connection have the same address, which is then one of
// this host, or are loopback addresses.
func sameHost(fd int) bool {
	own, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return false
	}
	a, b := hostOf(own), hostOf(peer)
	return a.IsValid() && a == b || a.IsLoopback() && b.IsLoopback()
}

// hostOf returns the IP address of a socket's end.
func hostOf(end unix.Sockaddr) netip.Addr {
	switch e := end.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(e.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(e.Addr).Unmap()
	}
	return netip.Addr{}
}

// SenderCPU returns the CPU on which what a connection received last was sent. Known
// for TCP between two processes of one host: the kernel receives a packet for the peer where
// it was sent. From another host, it would be the CPU of the network card's interrupts.
func SenderCPU(c Conn) (cpu int, ok bool) {
	s, is := c.(*socket)
	if !is || !s.local {
		return 0, false
	}
	cpu, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_INCOMING_CPU)
	return cpu, err == nil && cpu >= 0
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
