package vsock

import (
	"context"
	"errors"
	"fmt"
	stdnet "net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

var errNotReady = errors.New("the guest has no socket driver running")

// Addr is a port of a CID, as net.Addr.
type Addr struct {
	CID  CID
	Port Port
}

// Network is "vsock".
func (Addr) Network() string { return "vsock" }

func (a Addr) String() string { return fmt.Sprintf("vsock://%d:%d", a.CID, a.Port) }

// Conn is this process's end of a connection with the guest. CloseWrite and
// CloseRead work as they do for a Unix socket, which it is.
type Conn struct {
	*stdnet.UnixConn
	local, remote Addr
}

// LocalAddr is the host's Addr.
func (c *Conn) LocalAddr() stdnet.Addr { return c.local }

// RemoteAddr is the guest's Addr.
func (c *Conn) RemoteAddr() stdnet.Addr { return c.remote }

// socketPair makes both ends of a connection: ours for Go, the other for the
// muxer.
func socketPair() (*stdnet.UnixConn, int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, socketFlags, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("socketpair: %w", err)
	}
	f := os.NewFile(uintptr(fds[0]), "vsock")
	defer f.Close()
	c, err := stdnet.FileConn(f)
	if err != nil {
		unix.Close(fds[1])
		return nil, -1, err
	}
	return c.(*stdnet.UnixConn), fds[1], nil
}

// dial is an attempt to connect to a port of the guest.
type dial struct {
	port  Port
	fd    int
	ended chan dialed // has room for one
}

type dialed struct {
	host Port
	err  error
}

func (d *dial) accepted(host Port) { d.ended <- dialed{host: host} }
func (d *dial) refused(err error)  { d.ended <- dialed{err: err} }

// Dial connects to a port of the guest. It fails if nothing listens there, or
// the guest has no driver (yet), or does not answer before ctx is done or 10
// seconds have passed.
func (d *Device) Dial(ctx context.Context, port Port) (*Conn, error) {
	c, err := d.dial(ctx, port)
	if err != nil {
		return nil, fmt.Errorf("connect to port %d of guest %d: %w", port, d.cfg.CID, err)
	}
	return c, nil
}

func (d *Device) dial(ctx context.Context, port Port) (*Conn, error) {
	d.mu.Lock()
	r := d.run
	d.mu.Unlock()
	if r == nil {
		return nil, errNotReady
	}
	c, fd, err := socketPair()
	if err != nil {
		return nil, err
	}
	a := &dial{port: port, fd: fd, ended: make(chan dialed, 1)}
	r.post(a)
	var end dialed
	select {
	case end = <-a.ended:
	case <-ctx.Done(): // the muxer sees our end close
		end.err = context.Cause(ctx)
	}
	if end.err != nil {
		c.Close()
		return nil, end.err
	}
	return &Conn{c, Addr{HostCID, end.host}, Addr{d.cfg.CID, port}}, nil
}

// Listener accepts the guest's connections to a port of the host.
type Listener struct {
	dev    *Device
	port   Port
	conns  chan *Conn
	closed chan struct{}
	once   sync.Once
}

var _ stdnet.Listener = (*Listener)(nil)

// Listen makes the guest's connections to a port of the host come here,
// rather than to a Unix socket. It outlives resets of the guest.
func (d *Device) Listen(port Port) (*Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listeners[port] != nil {
		return nil, fmt.Errorf("listen on port %d for guest %d: %w", port, d.cfg.CID, unix.EADDRINUSE)
	}
	l := &Listener{dev: d, port: port, conns: make(chan *Conn, backlog), closed: make(chan struct{})}
	d.listeners[port] = l
	return l, nil
}

// Accept waits for the next connection. After Close it fails with an error
// that wraps net.ErrClosed.
func (l *Listener) Accept() (stdnet.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, fmt.Errorf("accept on vsock port %d: %w", l.port, stdnet.ErrClosed)
	}
}

// Addr is the host's port.
func (l *Listener) Addr() stdnet.Addr { return Addr{HostCID, l.port} }

// Close gives the port up and ends connections that nobody accepted.
func (l *Listener) Close() error {
	l.dev.mu.Lock()
	if l.dev.listeners[l.port] == l {
		delete(l.dev.listeners, l.port)
	}
	l.dev.mu.Unlock()
	l.shut()
	return nil
}

func (l *Listener) shut() {
	l.once.Do(func() { close(l.closed) })
	for {
		select {
		case c := <-l.conns:
			c.Close()
		default:
			return
		}
	}
}

// offer gives the listener one end of a new connection from a guest's port,
// and returns the other.
func (l *Listener) offer(guest Port) (int, error) {
	c, fd, err := socketPair()
	if err != nil {
		return -1, err
	}
	select {
	case l.conns <- &Conn{c, Addr{HostCID, l.port}, Addr{l.dev.cfg.CID, guest}}:
	default:
		c.Close()
		unix.Close(fd)
		return -1, errors.New("too many connections wait to be accepted")
	}
	select {
	case <-l.closed:
		l.shut() // again: it may have come in between
	default:
	}
	return fd, nil
}
