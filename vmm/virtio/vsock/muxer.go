package vsock

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxReplies is how many answers to strays may wait before the device
	// stops to listen.
	maxReplies = 256
	// greetTime is what a client at Path has to say its port, requestTime
	// what a guest has to answer, shutTime what it has to confirm the end of
	// a connection (Linux's VSOCK_CLOSE_TIMEOUT).
	greetTime   = 10 * time.Second
	requestTime = 10 * time.Second
	shutTime    = 8 * time.Second

	firstHostPort Port = 1 << 30
	firstConnID        = 16 // below are the muxer's own descriptors in epoll
)

var (
	errRefused = errors.New("the guest refused: nothing listens on that port")
	errTimeout = errors.New("the guest did not answer in time")
	errFull    = errors.New("too many connections at a time")
)

// muxer is all connections and what they have to say. It knows sockets, and
// no queue.
type muxer struct {
	cid      CID
	path     string
	max      int
	buffer   uint32
	log      *slog.Logger
	listener func(Port) *Listener
	now      func() time.Time

	epoll    int
	conns    map[uint32]*conn
	byKey    map[key]*conn
	timed    int     // connections with a time limit
	queue    []*conn // those that may have something to say, in turn
	replies  []header
	nextID   uint32
	nextPort Port
}

func newMuxer(d *Device) (*muxer, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	return &muxer{
		cid: d.cfg.CID, path: d.cfg.Path, max: d.cfg.MaxConns, buffer: uint32(d.cfg.Buffer), log: d.log,
		listener: d.listener, now: time.Now, epoll: epoll, conns: map[uint32]*conn{}, byKey: map[key]*conn{},
		nextID: firstConnID, nextPort: firstHostPort,
	}, nil
}

// close ends all connections.
func (m *muxer) close() {
	for _, c := range m.conns {
		c.settle(errNotReady)
		m.destroy(c)
	}
	unix.Close(m.epoll)
}

// watch puts a descriptor into epoll.
func (m *muxer) watch(fd int, id uint32, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(id)}
	if err := unix.EpollCtl(m.epoll, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// add makes a connection of the host's end fd, which it takes over. Events
// are edge-triggered: readable and writable hold until a call says otherwise.
func (m *muxer) add(fd int, s state) (*conn, error) {
	if len(m.conns) >= m.max {
		unix.Close(fd)
		return nil, errFull
	}
	for m.conns[m.nextID] != nil || m.nextID < firstConnID {
		m.nextID++
	}
	c := &conn{id: m.nextID, fd: fd, state: s, buffer: m.buffer, writable: true, readable: true}
	m.nextID++
	if err := m.watch(fd, c.id, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET); err != nil {
		unix.Close(fd)
		return nil, err
	}
	m.conns[c.id] = c
	return c, nil
}

// limit sets or, with 0, lifts a connection's time limit.
func (m *muxer) limit(c *conn, d time.Duration) {
	if !c.until.IsZero() {
		m.timed--
	}
	c.until = time.Time{}
	if d != 0 {
		c.until = m.now().Add(d)
		m.timed++
	}
}

// destroy ends a connection on the host's side, without a word to the guest.
func (m *muxer) destroy(c *conn) {
	m.limit(c, 0)
	m.forget(c)
	delete(m.conns, c.id)
	unix.Close(c.fd)
	c.pending = nil
}

// forget frees the key and takes the connection out of the queue.
func (m *muxer) forget(c *conn) {
	if m.byKey[c.key] == c {
		delete(m.byKey, c.key)
	}
	if c.queued {
		c.queued = false
		m.queue = slices.DeleteFunc(m.queue, func(o *conn) bool { return o == c })
	}
}

// kill resets a connection towards the guest and destroys it.
func (m *muxer) kill(c *conn, why error) {
	m.log.Debug("socket device: connection reset", "guest port", c.key.guest, "host port", c.key.host, "err", why)
	if m.byKey[c.key] == c {
		m.replies = append(m.replies, c.header(opReset))
	}
	c.settle(why)
	m.destroy(c)
}

// enqueue gives a connection its turn to speak.
func (m *muxer) enqueue(c *conn) {
	if !c.queued && m.byKey[c.key] == c {
		c.queued = true
		m.queue = append(m.queue, c)
	}
}

// wants tells whether anything may have to be said to the guest.
func (m *muxer) wants() bool { return len(m.replies) > 0 || len(m.queue) > 0 }

// request asks the guest to accept c at a port.
func (m *muxer) request(c *conn, guest Port) {
	c.key = key{guest, m.nextPort}
	for m.byKey[c.key] != nil {
		m.step()
		c.key.host = m.nextPort
	}
	m.step()
	m.byKey[c.key] = c
	c.state = requesting
	c.due = 1 << opRequest
	m.limit(c, requestTime)
	m.enqueue(c)
}

// step moves on to the next port of the host's for connections to the guest;
// 2^32-1 is VMADDR_PORT_ANY.
func (m *muxer) step() {
	if m.nextPort++; m.nextPort == 1<<32-1 {
		m.nextPort = firstHostPort
	}
}

// expire ends what has taken too long.
func (m *muxer) expire() {
	if m.timed == 0 {
		return
	}
	now := m.now()
	for _, c := range m.conns {
		if !c.until.IsZero() && !now.Before(c.until) {
			m.kill(c, errTimeout)
		}
	}
}

// event is what epoll says of a connection.
func (m *muxer) event(id uint32, events uint32) {
	c := m.conns[id]
	if c == nil {
		return
	}
	gone := events&(unix.EPOLLHUP|unix.EPOLLERR) != 0
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP) != 0 || gone {
		c.readable = true
	}
	if events&unix.EPOLLOUT != 0 || gone {
		c.writable = true
	}
	switch {
	case c.state == greeting:
		m.greet(c)
		return
	case gone && c.state == leaving:
		m.destroy(c)
		return
	case gone && c.state == requesting:
		m.kill(c, errors.New("the host's end is gone"))
		return
	case gone && !c.hasData(): // else when all is read
		c.hostShut |= shutBoth
	}
	if m.flush(c) {
		m.enqueue(c)
	}
}

// flush writes what the guest sent earlier; false if that was the end of c.
func (m *muxer) flush(c *conn) bool {
	for len(c.pending) > 0 && c.writable {
		n, err := retry(func() (int, error) { return unix.Write(c.fd, c.pending) })
		if err == unix.EAGAIN {
			c.writable = false
			break
		}
		if err != nil {
			m.kill(c, err)
			return false
		}
		c.pending = c.pending[n:]
		c.forwarded(n)
	}
	if len(c.pending) > 0 {
		return true
	}
	c.pending = nil
	if c.state == leaving {
		m.destroy(c)
		return false
	}
	if c.guestShut&shutSend != 0 {
		unix.Shutdown(c.fd, unix.SHUT_WR)
	}
	return true
}

// retry makes a system call again when a signal came between.
func retry(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}
