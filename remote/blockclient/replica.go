package blockclient

import (
	"context"
	"time"

	"splitvm/remote"
	"splitvm/remote/blockwire"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// replicaState is whether a replica counts.
//
//	unknown -> member, away   Open has decided
//	member -> leaving         voted out; the vote is not on the others' disks yet
//	leaving -> away           it is
//	away -> joining           it is here again, and is brought up to date
//	joining -> member, away   it was, or was lost again
type replicaState uint8

const (
	unknown replicaState = iota
	member
	leaving
	away
	joining
)

// Request ids are a slot in the low bits and a generation above, so that an
// answer that comes after its request was given up finds nobody.
const (
	slotBits = 10
	window   = 1 << slotBits
)

// maxMessages is how many messages go in one send.
const maxMessages = 64

// replica is one copy of the volume, and the connection to its monitor. Two
// goroutines belong to it: run, which connects, receives and completes, and write,
// which takes over when a send would block. Sending itself is done by whoever
// submits and finds nobody sending.
type replica struct {
	v       *Volume
	index   int
	address string
	kick    chan struct{} // wakes write

	stop, stopWriter context.CancelFunc
	ended, silent    chan struct{} // run, and write, have ended

	// Guarded by Volume.mu.
	state    replicaState
	opened   blockwire.Opened // what its monitor said last
	failure  error            // why it could not be opened last
	rejected error            // why it could not join last
	retiring bool             // it is not to join again
	gone     bool             // retired: nothing is sent to it any more, though a join may still try
	bereft   bool             // its host was restarted, and it has lost what it had not flushed
	claimed  bool             // by us: connections are to go on as the writer
	conn     transport.Conn   // nil: not connected
	since    time.Time        // when it became so
	heard    time.Time        // when the last message came
	asked    time.Time        // when it was last asked for one
	epoch    remote.Epoch     // that the monitor has when it comes to what is sent next
	cutting  bool             // conn was shut down and waits for its reader
	queue    partList         // to be sent
	flight   partList         // sent
	stuck    partList         // failed here, done by others: until it is voted out
	slots    [window]*part
	idle     []uint32      // free slots, with the generation of their next use
	corked   bool          // run sends what is queued when it has taken the answers that are there
	sending  bool          // somebody owns out
	quiet    chan struct{} // closed by the sender that ends while cutting; made by who waits

	out  sendBuffer  // of the sender
	head wire.Header // of the receiver, as is done
	done []*Request
}

// sendBuffer is the messages of one send.
type sendBuffer struct {
	vec   *transport.Vec
	heads []byte
	n     int
}

func newReplica(v *Volume, index int, address string) *replica {
	r := &replica{
		v: v, index: index, address: address, kick: make(chan struct{}, 1), since: time.Now(),
		idle: make([]uint32, 0, window),
		out:  sendBuffer{vec: transport.NewVec(transport.MaxVec), heads: make([]byte, maxMessages*wire.HeaderSize)},
	}
	for i := range uint32(window) {
		r.idle = append(r.idle, i)
	}
	return r
}

// enqueue gives the replica its part of a request. Preconditions: mu is held.
func (r *replica) enqueue(req *Request, counts bool) {
	p := &req.parts[r.index]
	p.req, p.counts, p.state, p.err = req, counts, queued, nil
	r.queue.pushBack(p)
}

// launch makes a queued part a flying one. Preconditions: mu is held, a slot is
// free.
func (r *replica) launch(p *part) {
	p.remove()
	p.id = r.idle[len(r.idle)-1]
	r.idle = r.idle[:len(r.idle)-1]
	r.slots[p.id&(window-1)] = p
	p.state = flying
	r.flight.pushBack(p)
}

// land takes a part out of wherever it is and frees its slot.
// Preconditions: mu is held.
func (r *replica) land(p *part) {
	p.remove()
	if p.state == flying || p.state == landing {
		r.slots[p.id&(window-1)] = nil
		r.idle = append(r.idle, p.id+window)
	}
	p.state = idle
}

// flying returns the part that an answer's id belongs to, nil if it was given up.
// Preconditions: mu is held.
func (r *replica) flying(id uint32) *part {
	p := r.slots[id&(window-1)]
	if p == nil || p.id != id {
		return nil
	}
	return p
}

// add appends a part's message.
func (b *sendBuffer) add(p *part, epoch remote.Epoch, common uint64, id remote.VolumeID) {
	r := p.req
	h := wire.Header{Op: r.Op, ID: p.id, Object: blockwire.Object(id), Epoch: epoch, Offset: r.Offset}
	if r.Durable {
		h.Flags = blockwire.FlagDurable
	}
	meta := r.meta
	switch r.Op {
	case blockwire.Read:
		h.Count = uint16(r.Length / remote.SectorSize)
	case blockwire.Write:
		h.Length = uint32(r.Length)
	case blockwire.Flush:
		h.Offset = common
	case blockwire.Discard, blockwire.Zeroes:
		blockwire.PutLength(p.lengthB[:], r.Length)
		meta = p.lengthB[:]
	}
	h.Length += uint32(len(meta))
	head := b.heads[b.n*wire.HeaderSize:][:wire.HeaderSize]
	b.n++
	h.Encode(head)
	b.vec.Add(head)
	b.vec.Add(meta)
	if r.Op == blockwire.Write {
		for _, m := range r.Memory {
			b.vec.Add(m)
		}
	}
}

// fits tells whether the message of p fits as well.
func (b *sendBuffer) fits(p *part) bool {
	return b.n < maxMessages && b.vec.Room() >= len(p.req.Memory)+2
}
