package vsock

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// body is a packet's payload in guest memory.
type body interface {
	// writeTo writes n bytes from off on to a socket, or some of them. An
	// error is the socket's errno, or else the guest's fault.
	writeTo(fd int, off, n uint32) (int, error)
	// read fills p with what is at off. An error is the guest's fault.
	read(p []byte, off uint32) error
}

var errProtocol = errors.New("the guest broke the protocol")

// hear takes a packet from the guest. Its error is about the payload's memory.
func (m *muxer) hear(h header, b body) error {
	if h.srcCID != m.cid || h.dstCID != HostCID {
		return nil // not its own address, or not for us
	}
	c := m.byKey[key{guest: h.srcPort, host: h.dstPort}]
	switch {
	case h.kind != typeStream || c == nil && h.op != opRequest:
		if h.op != opReset {
			m.replies = append(m.replies, h.reset())
		}
		return nil
	case c == nil:
		m.requested(h)
		return nil
	}
	c.heard(h)
	if err := m.obey(c, h, b); err != nil {
		if !errors.Is(err, errProtocol) {
			return err
		}
		m.kill(c, err)
		return nil
	}
	m.enqueue(c)
	return nil
}

// obey does what a packet says to its connection.
func (m *muxer) obey(c *conn, h header, b body) error {
	switch {
	case h.op == opReset:
		m.dropped(c)
	case h.op == opResponse && c.state == requesting:
		c.state = open
		m.limit(c, 0)
		c.settle(nil)
	case c.state == requesting:
		return fmt.Errorf("%w: %v before it answered", errProtocol, h)
	case h.op == opShutdown:
		m.shutDown(c, h.flags)
	case h.op == opData:
		return m.data(c, h, b)
	case h.op == opCreditUpdate:
	case h.op == opCreditRequest:
		c.due |= 1 << opCreditUpdate
	default:
		return fmt.Errorf("%w: %v on an open connection", errProtocol, h)
	}
	return nil
}

// requested is the guest's attempt to connect to the host.
func (m *muxer) requested(h header) {
	c, err := m.accept(h)
	if err != nil {
		m.log.Debug("socket device: no connection to the host", "port", h.dstPort, "err", err)
		m.replies = append(m.replies, h.reset())
		return
	}
	c.key = key{guest: h.srcPort, host: h.dstPort}
	m.byKey[c.key] = c
	c.heard(h)
	c.due = 1 << opResponse
	m.enqueue(c)
}

// accept connects to whoever listens on the host's port.
func (m *muxer) accept(h header) (*conn, error) {
	if len(m.conns) >= m.max {
		return nil, errFull
	}
	fd, err := m.reach(h)
	if err != nil {
		return nil, err
	}
	return m.add(fd, open)
}

// dropped is the end of a connection as the guest has it. Of what it sent
// before, nothing is lost.
func (m *muxer) dropped(c *conn) {
	c.settle(errRefused)
	m.forget(c)
	if len(c.pending) == 0 {
		m.destroy(c)
		return
	}
	c.state = leaving
	m.limit(c, 0)
}

// shutDown takes the guest's flags. With both it is done, and waits for us to
// say so.
func (m *muxer) shutDown(c *conn, flags uint32) {
	c.guestShut |= flags & shutBoth
	if c.guestShut == shutBoth {
		m.replies = append(m.replies, c.header(opReset))
		m.dropped(c)
		return
	}
	if c.guestShut&shutReceive != 0 {
		unix.Shutdown(c.fd, unix.SHUT_RD) // writers on the host get EPIPE
	}
	m.flush(c)
}

// data moves a payload to the host's end, and what it does not take to
// pending.
func (m *muxer) data(c *conn, h header, b body) error {
	if h.length > c.room() || c.guestShut&shutSend != 0 {
		return fmt.Errorf("%w: %v with %d bytes of credit and flags %d", errProtocol, h, c.room(), c.guestShut)
	}
	c.received += h.length
	done, err := m.pass(c, h.length, b)
	if errno := unix.Errno(0); errors.As(err, &errno) {
		m.kill(c, err) // nobody reads any more
		return nil
	}
	if err != nil {
		return err
	}
	if rest := int(h.length) - done; rest > 0 {
		at := len(c.pending)
		c.pending = append(c.pending, make([]byte, rest)...)
		return b.read(c.pending[at:], uint32(done))
	}
	return nil
}

// pass writes what the socket takes at once.
func (m *muxer) pass(c *conn, n uint32, b body) (int, error) {
	if len(c.pending) > 0 || !c.writable || n == 0 {
		return 0, nil
	}
	done, err := b.writeTo(c.fd, 0, n)
	if err == unix.EAGAIN {
		c.writable = false
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	c.forwarded(done)
	return done, nil
}
