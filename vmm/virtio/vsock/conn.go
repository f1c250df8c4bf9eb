package vsock

import (
	"time"
)

// key names a connection.
type key struct{ guest, host Port }

// state is how far a connection has got.
type state int

const (
	greeting   state = iota // the host's end has not said which port it wants; no key
	requesting              // the guest has not answered yet
	open
	leaving // the guest is done with it; what it sent is still on its way out; no key
)

// conn is one connection. It belongs to the muxer. Counters of bytes run
// modulo 2^32.
type conn struct {
	key   key
	id    uint32
	fd    int // the host's end: a Unix stream socket, non-blocking
	state state
	until time.Time // when to give up; zero: never
	owner owner     // nil if nobody waits to hear

	// From the guest to the host.
	buffer   uint32 // bytes of credit that the guest has in all
	received uint32 // from the guest
	forward  uint32 // of these, written to fd
	told     uint32 // forward as the guest last heard
	pending  []byte // received and not written
	writable bool   // fd may take something

	// From the host to the guest.
	peerBuffer  uint32 // bytes that the guest is ready to hold
	peerForward uint32 // bytes that its application has taken
	sent        uint32
	readable    bool // fd may have something
	drained     bool // fd has come to its end
	asked       bool // for credit, since the guest last spoke

	guestShut uint32 // flags that the guest sent
	hostShut  uint32 // flags that the guest is to get
	saidShut  uint32 // of these, sent

	due    uint32 // packets to send, as bits by op
	queued bool   // it is in the muxer's queue
}

// owner hears how an attempt to connect to the guest ended, once.
type owner interface {
	// accepted: the guest's port is connected to the host's port.
	accepted(host Port)
	// refused: err says why not.
	refused(err error)
}

// settle tells the owner, the first time.
func (c *conn) settle(err error) {
	o := c.owner
	c.owner = nil
	switch {
	case o == nil:
	case err == nil:
		o.accepted(c.key.host)
	default:
		o.refused(err)
	}
}

// credit is how many bytes the guest is ready to take. A guest may make its
// buffer smaller than what is on the way; that is none.
func (c *conn) credit() uint32 {
	if flying := c.sent - c.peerForward; flying < c.peerBuffer {
		return c.peerBuffer - flying
	}
	return 0
}

// heard takes the guest's side of credit, which every packet has.
func (c *conn) heard(h header) {
	c.peerBuffer, c.peerForward, c.asked = h.bufAlloc, h.fwdCnt, false
}

// room is what the guest may still send.
func (c *conn) room() uint32 { return c.buffer - (c.received - c.forward) }

// forwarded counts n bytes as out of the buffer, and lets the guest know once
// that is worth a packet.
func (c *conn) forwarded(n int) {
	c.forward += uint32(n)
	if c.forward-c.told >= c.buffer/4 {
		c.due |= 1 << opCreditUpdate
	}
}

// hasData tells whether to read from fd for the guest.
func (c *conn) hasData() bool {
	return c.state == open && c.readable && !c.drained && c.guestShut&shutReceive == 0
}

// next is the packet to send that has no payload; false if none is due.
// Whether there is data is looked at between the answer to a request and the
// rest, and so shutting down comes after the last byte.
func (c *conn) next(first bool) (header, bool) {
	ops := []op{opCreditUpdate, opCreditRequest}
	if first {
		ops = []op{opRequest, opResponse}
	} else if c.hostShut != c.saidShut {
		c.saidShut = c.hostShut
		return c.header(opShutdown), true
	}
	for _, o := range ops {
		if c.due&(1<<o) != 0 {
			c.due &^= 1 << o
			return c.header(o), true
		}
	}
	return header{}, false
}

// header is a packet of this connection, which tells the guest its credit.
func (c *conn) header(o op) header {
	c.told = c.forward
	c.due &^= 1 << opCreditUpdate
	h := header{srcCID: HostCID, srcPort: c.key.host, dstPort: c.key.guest, kind: typeStream, op: o, bufAlloc: c.buffer, fwdCnt: c.forward}
	if o == opShutdown {
		h.flags = c.saidShut
	}
	return h
}
