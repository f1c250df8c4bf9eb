package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ParseAddress splits an address as users write it into network and address:
// "HOST:PORT" (also "tcp:HOST:PORT"), "unix:PATH", or "shm:PATH": shared memory,
// set up through a unix socket at PATH.
func ParseAddress(s string) (network, address string, err error) {
	for _, network := range []string{"unix", "shm"} {
		if path, ok := strings.CutPrefix(s, network+":"); ok {
			if path == "" {
				return "", "", fmt.Errorf("address %q: no path after %s:", s, network)
			}
			return network, path, nil
		}
	}
	s = strings.TrimPrefix(s, "tcp:")
	if _, _, err := net.SplitHostPort(s); err != nil {
		return "", "", fmt.Errorf("address %q: give HOST:PORT, unix:PATH or shm:PATH", s)
	}
	return "tcp", s, nil
}

// Dial connects to an address in the form of ParseAddress.
func Dial(ctx context.Context, address string) (Conn, error) {
	network, addr, err := ParseAddress(address)
	if err != nil {
		return nil, err
	}
	if network == "shm" {
		return dialShared(ctx, addr)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return FromNet(c)
}

// Listen listens on an address in the form of ParseAddress. The connections
// that it accepts are to be given to FromNet. A unix socket is for its owner
// only (mode 0600), and takes the place of one that nobody listens on any more.
func Listen(address string) (net.Listener, error) {
	network, addr, err := ParseAddress(address)
	if err != nil {
		return nil, err
	}
	switch network {
	case "unix":
		return listenUnix(addr)
	case "shm":
		l, err := listenUnix(addr)
		if err != nil {
			return nil, err
		}
		return &sharedListener{Listener: l}, nil
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

func listenUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if errors.Is(err, unix.EADDRINUSE) && deserted(path) {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen: remove the socket of a process that is gone: %w", err)
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	return l, nil
}

// deserted tells whether path is a socket that nobody listens on: what a process
// that was killed leaves behind.
func deserted(path string) bool {
	st, err := os.Lstat(path)
	if err != nil || st.Mode()&os.ModeSocket == 0 {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}
