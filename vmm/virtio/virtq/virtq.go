// Package virtq is the device's side of virtqueues: it takes chains of buffers
// that a driver made available and gives them back as used, over split rings
// (virtio 1.2, 2.7) and packed rings (2.8), with indirect descriptors and the
// event index.
//
// It moves no payload and knows no device. A Chain says where the driver's
// buffers are; the bytes go between guest RAM and files or sockets by system
// calls on what AppendReadable and AppendWritable return.
//
// The driver is not trusted. Every index, length, flag and link is checked;
// what breaks a rule is an error that wraps ErrBroken, after which the queue
// must not be used: the device tells its transport (DEVICE_NEEDS_RESET). The
// addresses of buffers are checked where they are turned into host views.
//
// A Queue has two sides. Pop, DisableKicks and EnableKicks belong to one
// goroutine at a time; Push, PushBatch and NeedsInterrupt to one at a time,
// which may be another. The sides share one atomic counter and take no locks.
package virtq

import (
	"errors"
	"fmt"
	"sync/atomic"

	"splitvm/guest/layout"
	"splitvm/vmm/memory"
)

// MaxSize is the largest queue (virtio 1.2, 2.7 and 2.8.10.1).
const MaxSize = 32768

// ErrBroken says that the driver broke the rules of the ring.
var ErrBroken = errors.New("broken virtqueue")

// Config is one queue as its driver set it up.
type Config struct {
	Size   uint16     // entries; a power of two for a split ring
	Desc   layout.GPA // descriptor table, or the packed descriptor ring; 16-byte aligned
	Driver layout.GPA // available ring (2-aligned), or the driver's event suppression (4-aligned)
	Device layout.GPA // used ring, or the device's event suppression; 4-aligned

	Packed   bool // VIRTIO_F_RING_PACKED was negotiated
	EventIdx bool // VIRTIO_F_RING_EVENT_IDX was negotiated
	Indirect bool // VIRTIO_F_INDIRECT_DESC was negotiated
}

// Queue is the device's side of one virtqueue in guest RAM.
type Queue struct {
	mem      *memory.Memory // immutable after New
	size     uint16         // immutable after New
	inFlight atomic.Int32   // popped and not yet pushed
	ring     ring
}

// ring is what differs between the split and the packed layout.
type ring interface {
	// pop fills c with the next available chain; false if there is none.
	pop(c *Chain) (bool, error)
	// push makes c used.
	push(c *Chain, written uint32)
	// pushBatch makes several used, visible to the driver all at once.
	pushBatch(cs []*Chain, written []uint32)
	// disableKicks asks the driver to stop notifying; it may go on for a while.
	disableKicks()
	// enableKicks asks the driver to notify, and then tells whether a chain
	// is already there for which no notification may come.
	enableKicks() (bool, error)
	// needsInterrupt tells whether the driver wants an interrupt for what was
	// pushed since the last call.
	needsInterrupt() bool
}

// New checks the configuration and maps the rings. An error means that the
// driver set the queue up wrongly.
func New(m *memory.Memory, c Config) (*Queue, error) {
	q := &Queue{mem: m, size: c.Size}
	var err error
	if c.Packed {
		q.ring, err = newPacked(m, c)
	} else {
		q.ring, err = newSplit(m, c)
	}
	if err != nil {
		return nil, fmt.Errorf("set up queue of %d: %w", c.Size, err)
	}
	return q, nil
}

// Size is the number of entries of the ring, and so the most chains that can
// be in flight.
func (q *Queue) Size() uint16 { return q.size }

// InFlight is the number of chains popped and not pushed back.
func (q *Queue) InFlight() int { return int(q.inFlight.Load()) }

// Pop fills c, whose slices it reuses, with the next available chain. It is
// false when the driver has made no more available. An error wraps ErrBroken;
// the queue is of no use after it.
func (q *Queue) Pop(c *Chain) (bool, error) {
	c.reset(q.mem)
	ok, err := q.ring.pop(c)
	if !ok || err != nil {
		return false, err
	}
	if n := q.inFlight.Add(1); n > int32(q.size) {
		return false, fmt.Errorf("%w: more chains in flight than the %d entries", ErrBroken, q.size)
	}
	return true, nil
}

// Push gives c, which Pop filled, back to the driver as used, with the number
// of bytes written to its writable part. The driver may see it at once; it is
// told by an interrupt if NeedsInterrupt says so afterwards, which may cover a
// batch of pushes. Chains may be pushed in any order, each once.
func (q *Queue) Push(c *Chain, written uint32) {
	q.inFlight.Add(-1) // first: the driver may reuse the entries at once
	q.ring.push(c, written)
}

// PushBatch is Push of several chains, which all become visible to the driver
// at once or not at all: a network frame that is spread over several buffers
// must be seen whole (virtio 1.2, 5.1.6.4). written has one number per chain.
func (q *Queue) PushBatch(cs []*Chain, written []uint32) {
	q.inFlight.Add(-int32(len(cs)))
	q.ring.pushBatch(cs, written)
}

// NeedsInterrupt tells whether the driver wants to be interrupted for the
// chains pushed since the last call. It contains the full barrier that this
// question needs (virtio 1.2, 2.7.7.2 and 2.8.10).
func (q *Queue) NeedsInterrupt() bool { return q.ring.needsInterrupt() }

// DisableKicks asks the driver not to notify while the device looks at the
// queue anyhow. It is a hint: notifications may still come.
func (q *Queue) DisableKicks() { q.ring.disableKicks() }

// EnableKicks asks the driver to notify from now on and then looks again: true
// means that a chain is available for which no notification may come, so the
// caller pops once more before it sleeps.
func (q *Queue) EnableKicks() (bool, error) { return q.ring.enableKicks() }
