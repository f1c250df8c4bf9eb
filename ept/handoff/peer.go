package handoff

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"splitvm/ept"
	"splitvm/remote"
	"splitvm/remote/client"
	"splitvm/remote/wire"
)

// Remote dials memory monitors with package remote/client.
type Remote struct {
	Checksums bool          // of payloads, in both directions
	Timeout   time.Duration // of a request; 0 is the client's
	Log       *slog.Logger  // nil is the client's
}

var _ Dialer = Remote{}

// Dial implements Dialer. It connects in the background.
func (d Remote) Dial(_ context.Context, addr string, session remote.SessionID, incarnation uint64) (Peer, error) {
	c := client.New(client.Config{Address: addr, Session: session, Incarnation: incarnation, Checksums: d.Checksums, Timeout: d.Timeout, Log: d.Log})
	return &peer{Client: c, addr: addr}, nil
}

// peer is a client as the pager sees it.
type peer struct {
	*client.Client
	addr string
}

var _ Peer = (*peer)(nil)

// String implements ept.Monitor.
func (p *peer) String() string { return p.addr }

// call is a request with the memory for its list.
type call struct {
	client.Request
	mem   [1][]byte
	read  ept.ReadDone
	write ept.WriteDone
}

var calls = sync.Pool{New: func() any { return new(call) }}

// StartRead implements ept.Monitor.
func (p *peer) StartRead(r ept.Read, done ept.ReadDone) {
	c := calls.Get().(*call)
	c.mem[0], c.read = r.Mem, done
	c.Op, c.Class, c.At, c.Runs, c.Mem, c.Deadline = wire.Read, wire.Bulk, r.At, r.Runs, c.mem[:], r.Deadline
	if r.Urgent {
		c.Class = wire.Demand
	}
	c.Owner, c.Done = c, readDone
	p.Submit(&c.Request)
}

// readDone gives the call back before it tells, as that may start another.
func readDone(r *client.Request) {
	c := r.Owner.(*call)
	done, zero, err := c.read, c.Zero, c.Err
	c.free()
	done.ReadDone(&zero, err)
}

// StartWrite implements ept.Monitor.
func (p *peer) StartWrite(at remote.Owned, runs []remote.Run, mem [][]byte, done ept.WriteDone) {
	p.change(wire.Write, at, runs, mem, done)
}

// StartDiscard implements ept.Monitor.
func (p *peer) StartDiscard(at remote.Owned, runs []remote.Run, done ept.WriteDone) {
	p.change(wire.Discard, at, runs, nil, done)
}

func (p *peer) change(op wire.Op, at remote.Owned, runs []remote.Run, mem [][]byte, done ept.WriteDone) {
	c := calls.Get().(*call)
	c.Op, c.Class, c.At, c.Runs, c.Mem, c.write = op, wire.Bulk, at, runs, mem, done
	c.Owner, c.Done = c, writeDone
	p.Submit(&c.Request)
}

func writeDone(r *client.Request) {
	c := r.Owner.(*call)
	done, err := c.write, c.Err
	c.free()
	done.WriteDone(err)
}

// free forgets what the call referred to.
func (c *call) free() {
	*c = call{}
	calls.Put(c)
}
