package client

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"splitvm/remote"
	"splitvm/remote/onesided"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// Request ids are a slot in the low bits and a generation above, so that an
// answer that comes after its request was given up finds nobody.
const (
	slotBits  = 12
	maxWindow = 1 << slotBits
)

// Limits of one send.
const (
	maxMessages = 128
	metaBytes   = 4 * remote.MaxBatch * wire.RunSize
)

// link is the connection of one class and what is on it. Two goroutines belong
// to it: run, which connects, receives and completes; and write, which takes
// over when a send would block. Sending itself is done by whoever submits and
// finds nobody sending.
type link struct {
	client *Client
	class  wire.Class
	ready  chan struct{} // closed at the first connection, or failure for good
	once   sync.Once
	kick   chan struct{} // wakes write
	over   chan struct{} // closed when run has ended

	// lines is the monitor's memory while it can be read: see readHere.
	lines atomic.Pointer[onesided.Reader]

	mu       sync.Mutex
	quiet    sync.Cond      // signalled when sending becomes false
	conn     transport.Conn // nil when disconnected; guarded by mu, as is all below
	sums     bool           // negotiated for conn
	attempt  uint32
	fatal    error // set for good
	lost     error // why the last connection, or attempt at one, failed
	queue    list  // not sent, oldest first
	flight   list  // sent, oldest first
	slots    []*Request
	idle     []uint32 // free slots, with the generation of their next use
	reads    int      // READs in flight
	batch    uint64   // number of the send under way or last done
	heard    uint64   // messages received
	sending  bool     // somebody owns out
	corked   bool     // run will send what is queued when it has taken the answers that are there
	shutting bool     // conn was shut down and waits for its reader

	// out is the send under way; owned by who set sending.
	out sendBuffer
	// in is owned by run.
	in receiveBuffer
}

func newLink(c *Client, class wire.Class) *link {
	l := &link{
		client: c,
		class:  class,
		ready:  make(chan struct{}),
		kick:   make(chan struct{}, 1),
		over:   make(chan struct{}),
		slots:  make([]*Request, c.cfg.Window),
		idle:   make([]uint32, 0, c.cfg.Window),
		out:    newSendBuffer(),
		in:     newReceiveBuffer(),
	}
	l.quiet.L = &l.mu
	for i := c.cfg.Window - 1; i >= 0; i-- {
		l.idle = append(l.idle, uint32(i))
	}
	return l
}

// enqueue puts a prepared request on the queue.
func (l *link) enqueue(r *Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal != nil {
		return l.fatal
	}
	r.state = queued
	l.queue.pushBack(r)
	return nil
}

// launch moves a request from the queue to the flight and gives it an id.
// Preconditions: mu is held, there is a free slot.
func (l *link) launch(r *Request) {
	l.queue.remove(r)
	last := len(l.idle) - 1
	r.id = l.idle[last]
	l.idle = l.idle[:last]
	l.slots[r.id&(maxWindow-1)] = r
	r.state = flying
	r.batch = l.batch
	r.heard = l.heard
	r.sends++
	if r.Op == wire.Read {
		l.reads++
	}
	l.flight.pushBack(r)
}

// land takes a request out of the flight; its id is not valid any more.
// Preconditions: mu is held.
func (l *link) land(r *Request) {
	l.flight.remove(r)
	l.slots[r.id&(maxWindow-1)] = nil
	l.idle = append(l.idle, r.id+maxWindow)
	r.state = idle
	if r.Op == wire.Read {
		l.reads--
	}
}

// flying returns the request of an id, nil if it was given up.
// Preconditions: mu is held.
func (l *link) flying(id uint32) *Request {
	slot := id & (maxWindow - 1)
	if int(slot) >= len(l.slots) {
		return nil
	}
	if r := l.slots[slot]; r != nil && r.id == id {
		return r
	}
	return nil
}

// beingSent tells whether the memory of a request in flight is in use by a send.
// Preconditions: mu is held.
func (l *link) beingSent(r *Request) bool { return l.sending && r.batch == l.batch }

// reset takes the connection down; run does the rest.
// Preconditions: mu is held.
func (l *link) reset(why error) {
	if l.conn == nil || l.shutting {
		return
	}
	l.shutting = true
	l.lost = why
	l.conn.Shutdown()
}

// fail ends the link for good.
func (l *link) fail(err error) {
	l.mu.Lock()
	if l.fatal == nil {
		l.fatal = err
	}
	l.reset(err)
	failed := l.giveUp(&l.queue, l.fatal)
	l.mu.Unlock()
	finish(failed)
	l.once.Do(func() { close(l.ready) })
}

// giveUp empties a list of requests that are not in flight, sets their error,
// and returns them for finish.
// Preconditions: mu is held.
func (l *link) giveUp(from *list, err error) []*Request {
	var failed []*Request
	for r := from.head; r != nil; r = from.head {
		from.remove(r)
		r.state = idle
		r.Err = err
		failed = append(failed, r)
	}
	return failed
}

// finish calls Done for each.
func finish(rs []*Request) {
	for _, r := range rs {
		r.Done(r)
	}
}

func (l *link) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *link) lastError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// timeout is the error of a request that was not answered in time.
// Preconditions: mu is held.
func (l *link) timeout() error {
	if l.conn == nil && l.lost != nil {
		return fmt.Errorf("%w: not connected: %v", remote.Timeout, l.lost)
	}
	return remote.Timeout
}

// permanent tells whether connecting again is of no use.
func permanent(err error) bool {
	return errors.Is(err, remote.Restarted) || errors.Is(err, remote.Fenced)
}
