package vsock

import "golang.org/x/sys/unix"

// source reads up to n bytes of a socket into the buffer at hand.
type source func(fd int, n uint32) (int, error)

// speak returns the next packet for the guest, whose payload, of room bytes at
// most, it has read by then. False if there is nothing to say.
func (m *muxer) speak(room uint32, read source) (header, bool) {
	if len(m.replies) > 0 {
		h := m.replies[0]
		m.replies = m.replies[1:]
		h.dstCID = m.cid
		return h, true
	}
	for len(m.queue) > 0 {
		c := m.queue[0]
		m.queue = m.queue[1:]
		c.queued = false
		h, ok := m.turn(c, room, read)
		if ok {
			m.enqueue(c) // it may have more
			h.dstCID = m.cid
			return h, true
		}
		if len(m.replies) > 0 { // the turn was its end
			return m.speak(room, read)
		}
	}
	m.queue = nil // let go of what is before
	return header{}, false
}

// turn is a connection's next packet.
func (m *muxer) turn(c *conn, room uint32, read source) (header, bool) {
	if h, ok := c.next(true); ok {
		return h, true
	}
	if c.hasData() {
		if c.credit() > 0 {
			if h, ok := m.send(c, min(room, c.credit()), read); ok || m.byKey[c.key] != c {
				return h, ok
			}
		} else if !c.asked {
			c.asked = true
			c.due |= 1 << opCreditRequest
		}
	}
	h, ok := c.next(false)
	if ok && h.op == opShutdown && h.flags == shutBoth {
		m.limit(c, shutTime)
	}
	return h, ok
}

// send reads data for a packet.
func (m *muxer) send(c *conn, n uint32, read source) (header, bool) {
	got, err := read(c.fd, n)
	switch {
	case err == unix.EAGAIN:
		c.readable = false
	case err != nil:
		m.kill(c, err)
	case got == 0:
		c.drained = true
		c.hostShut |= shutSend
		if hungUp(c.fd) {
			c.hostShut |= shutBoth
		}
	default:
		c.sent += uint32(got)
		h := c.header(opData)
		h.length = uint32(got)
		return h, true
	}
	return header{}, false
}

// hungUp tells whether the other end of a socket is closed, not only shut for
// writing.
func hungUp(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	n, err := retry(func() (int, error) { return unix.Poll(p, 0) })
	return err == nil && n > 0 && p[0].Revents&unix.POLLHUP != 0
}
