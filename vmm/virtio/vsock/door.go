package vsock

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

const socketFlags = unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK

// maxPath is the most bytes of Path: sun_path has room for 107, and the longest
// suffix is that of the last port.
const maxPath = 107 - len("_4294967295")

// backlog of Path.
const backlog = 128

// maxGreeting is the longest "CONNECT <port>\n".
const maxGreeting = len("CONNECT 4294967295\n")

// listenAt makes a listening socket, in place of one that is left over.
func listenAt(path string) (int, error) {
	if len(path) > maxPath {
		return -1, fmt.Errorf("the path is longer than %d bytes", maxPath)
	}
	fd, err := unix.Socket(unix.AF_UNIX, socketFlags, 0)
	if err != nil {
		return -1, err
	}
	addr := &unix.SockaddrUnix{Name: path}
	err = unix.Bind(fd, addr)
	if err == unix.EADDRINUSE && deserted(path) {
		if err = unix.Unlink(path); err == nil {
			err = unix.Bind(fd, addr)
		}
	}
	if err == unix.EADDRINUSE {
		err = fmt.Errorf("%w: it is in use, or no socket; remove it or give another path", err)
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// deserted tells whether path is a socket without a listener.
func deserted(path string) bool {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return false // connecting to a file is refused as well
	}
	fd, err := connect(path)
	if err == nil {
		unix.Close(fd)
	}
	return errors.Is(err, unix.ECONNREFUSED)
}

// connect never waits: a Unix socket accepts at once or has its backlog full.
func connect(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, socketFlags, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", path, err)
	}
	return fd, nil
}

// reach is the host's end of a connection that the guest asks for.
func (m *muxer) reach(h header) (int, error) {
	if l := m.listener(h.dstPort); l != nil {
		return l.offer(h.srcPort)
	}
	if m.path == "" {
		return -1, errors.New("nothing listens on that port")
	}
	return connect(m.path + "_" + strconv.FormatUint(uint64(h.dstPort), 10))
}

// welcome takes in who waits at the door. It tells whether there may be more
// for which there were no descriptors.
func (m *muxer) welcome(door int) (later bool) {
	for {
		fd, err := retry(func() (int, error) {
			fd, _, err := unix.Accept4(door, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return fd, err
		})
		switch err {
		case nil:
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS:
			return true
		case unix.ECONNABORTED:
			continue
		default:
			return false
		}
		c, err := m.add(fd, greeting)
		if err != nil {
			m.log.Warn("socket device: connection to the guest refused", "err", err)
			continue
		}
		m.limit(c, greetTime)
	}
}

// greet looks whether a client has said its port yet, without taking a byte
// too many.
func (m *muxer) greet(c *conn) {
	var buf [maxGreeting]byte
	n, err := retry(func() (int, error) {
		n, _, err := unix.Recvfrom(c.fd, buf[:], unix.MSG_PEEK)
		return n, err
	})
	if err == unix.EAGAIN {
		return
	}
	end := bytes.IndexByte(buf[:max(n, 0)], '\n')
	if err != nil || end < 0 && (n == 0 || n == maxGreeting) {
		m.destroy(c)
		return
	}
	if end < 0 {
		return
	}
	port, ok := parseGreeting(string(buf[:end]))
	if _, err := retry(func() (int, error) { return unix.Read(c.fd, buf[:end+1]) }); err != nil || !ok {
		m.destroy(c)
		return
	}
	c.owner = client{c.fd}
	m.request(c, port)
}

// parseGreeting reads "CONNECT <port>".
func parseGreeting(s string) (Port, bool) {
	const word = "CONNECT "
	if len(s) < len(word) || s[:len(word)] != word {
		return 0, false
	}
	p, err := strconv.ParseUint(s[len(word):], 10, 32)
	return Port(p), err == nil
}

// client is who connected by the door. A refusal is the end of its connection.
type client struct{ fd int }

func (c client) accepted(host Port) {
	fmt.Fprintf(c, "OK %d\n", host)
}

func (c client) refused(error) {}

// Write puts the first bytes into an empty socket, which takes them.
func (c client) Write(p []byte) (int, error) {
	return retry(func() (int, error) { return unix.Write(c.fd, p) })
}
