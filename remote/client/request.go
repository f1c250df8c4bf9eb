package client

import (
	"time"

	"splitvm/remote"
	"splitvm/remote/wire"
)

// Request is one operation on lines. The caller sets the first group of fields
// and Submits it; from then until Done is called it, and the memory and runs
// that it refers to, belong to the client. Then it is the caller's again, for
// reuse as well.
type Request struct {
	// Op is wire.Read, wire.Write or wire.Discard.
	Op wire.Op
	// Class says which connection carries it. Writes and discards of one line
	// must use the same class until each is done: only then are they ordered.
	Class wire.Class
	At    remote.Owned
	// Runs and Mem are as in remote.LineStore.
	Runs []remote.Run
	Mem  [][]byte
	// Deadline is when the request fails at the latest (checked every 20 ms).
	// Zero is Config.Timeout from Submit on.
	Deadline time.Time
	// Done is called once, after the result was set, with no lock held. It is
	// called on the connection's receiving thread as soon as the last byte of the
	// payload has landed in Mem; or, on failures, on another goroutine of the
	// client's or inside of Submit, as a READ is that needs no message. It must not
	// block: all that comes on the connection waits for it. It may Submit.
	Done func(*Request)
	// Owner is the caller's.
	Owner any

	// Err is nil, or the failure, with a remote.Kind.
	Err error
	// Zero has the lines of a READ that hold nothing, by position; their memory
	// was not touched.
	Zero remote.LineSet

	lines    int
	sum      wire.BodySum // of the request's body, if the client uses them
	arg      uint64       // header's offset of control operations
	reply    wire.Header
	body     []byte // answer's body of control operations
	deadline time.Time
	state    state
	id       uint32
	sends    int    // how often it was sent
	batch    uint64 // link.batch when it was last sent
	heard    uint64 // link.heard when it was last sent
	doomed   error  // fails with this when its connection has been taken down

	prev, next *Request
	in         *list
}

// state is where a request is. Moves are made under link.mu.
//
//	idle -> queued      Submit
//	queued -> flying    sender, when it has a slot and goes into a message
//	flying -> landing   reader, when the header of its answer has come and a payload follows
//	flying -> idle      reader, answer without payload; expiry and cancel of a read
//	landing -> idle     reader
//	flying, landing -> queued   the connection was lost
//	queued -> idle      expiry, cancel, failure of the link
type state uint8

const (
	idle state = iota
	queued
	flying
	landing
)

// prepare checks what the caller set and completes it.
func (r *Request) prepare(c *Client, now time.Time) error {
	r.Err, r.Zero, r.sends, r.doomed = nil, remote.LineSet{}, 0, nil
	if r.deadline = r.Deadline; r.deadline.IsZero() {
		r.deadline = now.Add(c.cfg.Timeout)
	}
	if r.Class >= wire.Classes {
		return remote.Range
	}
	switch r.Op {
	case wire.Read, wire.Write:
		if !remote.Fits(r.Runs, r.Mem) || len(r.Mem) > remote.MaxBatch {
			return remote.Range
		}
		r.lines = remote.CountLines(r.Runs)
	case wire.Discard:
		if n := len(r.Runs); n < 1 || n > remote.MaxBatch {
			return remote.Range
		}
	}
	if c.cfg.Checksums {
		r.checksum()
	}
	return nil
}

// checksum computes the body checksum of the request.
func (r *Request) checksum() {
	r.sum.Reset(nil)
	if len(r.Runs) > 0 {
		r.sum.ResetRuns(r.Runs)
	}
	if r.Op == wire.Write {
		for _, m := range r.Mem {
			r.sum.AddLines(m)
		}
	}
}

// list is a list of requests in order; guarded by link.mu.
type list struct {
	head, tail *Request
	n          int
}

func (l *list) pushBack(r *Request) {
	r.in, r.prev, r.next = l, l.tail, nil
	if l.tail == nil {
		l.head = r
	} else {
		l.tail.next = r
	}
	l.tail = r
	l.n++
}

func (l *list) pushFront(r *Request) {
	r.in, r.prev, r.next = l, nil, l.head
	if l.head == nil {
		l.tail = r
	} else {
		l.head.prev = r
	}
	l.head = r
	l.n++
}

func (l *list) remove(r *Request) {
	if r.in != l {
		panic("client: request is on another list")
	}
	if r.prev == nil {
		l.head = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		l.tail = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.in, r.prev, r.next = nil, nil, nil
	l.n--
}
