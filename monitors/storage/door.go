package storage

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/remote/wire"
)

// door tells the two kinds of connection apart that come to one address: HTTP/2,
// which begins with "PRI", and ours, which begins with wire.Magic. It is the
// listener of the former.
type door struct {
	net.Listener
	data    func(net.Conn)
	log     *slog.Logger
	control chan net.Conn
	closed  chan struct{}
	once    sync.Once
	peeking sync.WaitGroup
}

// firstByte is how long a connection may take to say what it is.
const firstByte = 10 * time.Second

func newDoor(l net.Listener, data func(net.Conn), log *slog.Logger) *door {
	return &door{Listener: l, data: data, log: log, control: make(chan net.Conn), closed: make(chan struct{})}
}

// run accepts connections until the listener is closed.
func (d *door) run() error {
	defer d.peeking.Wait()
	defer d.Close()
	for {
		c, err := d.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // out of descriptors, most likely: they come back when peers leave
			d.log.Warn("accept failed", "listen", d.Addr().String(), "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-d.closed:
				return nil
			}
		}
		d.peeking.Go(func() { d.admit(c) })
	}
}

// admit looks at the first byte and leaves it where it is.
func (d *door) admit(c net.Conn) {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-d.closed:
			c.SetReadDeadline(time.Unix(1, 0))
		case <-stop:
		}
	}()
	first, err := peek(c)
	switch {
	case err != nil:
		d.log.Info("connection refused", "peer", c.RemoteAddr().String(), "err", err)
		c.Close()
	case first == byte(wire.Magic&0xff):
		d.data(c)
	default:
		select {
		case d.control <- c:
		case <-d.closed:
			c.Close()
		}
	}
}

func peek(c net.Conn) (byte, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0, errors.New("no descriptor")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	if err := c.SetReadDeadline(time.Now().Add(firstByte)); err != nil {
		return 0, err
	}
	var b [1]byte
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, _, failed = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return failed != unix.EAGAIN && failed != unix.EINTR
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, errors.New("closed before a word was said")
	}
	return b[0], c.SetReadDeadline(time.Time{})
}

// Accept implements net.Listener for the control connections.
func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.control:
		return c, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.Listener.Close()
}
