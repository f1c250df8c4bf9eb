// Package block is the virtio block device (virtio 1.2, 5.2): it parses and
// checks a guest's requests and hands them to a Backend.
//
// Each queue has a worker, a goroutine on a thread of its own, and a Session
// with the backend. The worker pops requests, submits them, and sleeps in the
// session until the guest kicks or something is done. A backend may answer at
// once, within the session's calls on the worker, or from any other goroutine,
// in any order; answers of one queue are pushed under its lock. A queue never
// has more requests in flight than entries, so nothing here is unbounded.
//
// No byte of payload passes through Go: a Request carries host views of guest
// memory for the backend's system calls.
//
// Errors of the backend become VIRTIO_BLK_S_IOERR or UNSUPP for the guest; only
// a chain that has no room for a status byte or no header stops the device.
package block

import (
	"errors"
	"fmt"

	"splitvm/vmm/virtio"
)

// SectorSize is the unit of addresses and lengths in requests, whatever the
// block size (virtio 1.2, 5.2.4).
const SectorSize = 512

// ErrUnsupported is a backend's answer to an operation that it doesn't have.
var ErrUnsupported = errors.New("operation not supported")

// Op is what a Request asks for.
type Op uint8

// Operations of a Backend.
const (
	OpRead        Op = iota // fill Memory from Offset on
	OpWrite                 // store Memory from Offset on
	OpFlush                 // make all writes that were answered before durable
	OpDiscard               // the contents of the range don't matter any more
	OpWriteZeroes           // the range reads as zeroes from now on
)

func (o Op) String() string {
	return [...]string{"read", "write", "flush", "discard", "write of zeroes"}[o]
}

// Request is one operation on a backend. It belongs to the backend from Submit
// until it is answered.
type Request struct {
	Op     Op
	Offset uint64   // bytes, a multiple of SectorSize
	Length uint64   // bytes; with the offset within Info.Size, no overflow
	Memory [][]byte // Length bytes of guest memory, for system calls only; reads and writes
	Unmap  bool     // OpWriteZeroes: the range may be deallocated

	// Durable: a change is on stable storage before it is answered, as if a
	// flush came with it.
	Durable bool

	owner interface {
		done(r *Request, err error, onWorker bool)
	}
}

// Done answers a request that Submit left open, once, from any goroutine. It
// doesn't block for long. Within the session's own Commit, Wait and Close use
// Finish.
func (r *Request) Done(err error) { r.owner.done(r, err, false) }

// Finish is Done within the session's own calls: the worker then tells the
// guest of all that was finished at once.
func (r *Request) Finish(err error) { r.owner.done(r, err, true) }

// Backend is where a disk's bytes are.
type Backend interface {
	// Info describes the disk; it is the same for the backend's life.
	Info() Info
	// Begin makes a session for one queue of the guest, whose notifications
	// signal kick. It is called by the goroutine that uses the session.
	Begin(kick *virtio.Event) Session
}

// Session carries the requests of one queue. One goroutine calls it, which is
// locked to its thread from Begin to Close.
type Session interface {
	// Submit begins r without waiting for anything slow. It returns true when
	// r is already done, with the outcome; else the backend answers r later,
	// in the end always. An outcome of nil means that all of r happened;
	// ErrUnsupported that this backend has no such operation. What is begun
	// may be held back until Commit or Wait, to be sent in one go.
	Submit(r *Request) (done bool, err error)
	// Commit sends what was held back, and doesn't wait.
	Commit() error
	// Wait is Commit and then a sleep until kick is signalled, or something
	// was finished. It may return for nothing.
	Wait() error
	// Close ends the session, and with it whatever it would finish itself.
	Close() error
}

// Info describes a backend's disk.
type Info struct {
	Size          uint64 // bytes; a last partial sector is out of reach
	BlockSize     uint32 // smallest efficient unit for the guest; a power of two from 512; 0 is 512
	PhysicalBlock uint32 // smallest unit written without reading; 0 is BlockSize
	ReadOnly      bool
	Discard       bool // OpDiscard is worth asking for
	WriteZeroes   bool // OpWriteZeroes is worth asking for
}

// Config is a disk for a guest.
type Config struct {
	Backend   Backend
	Serial    string // up to 20 bytes; what the guest sees in /dev/disk/by-id
	Queues    int    // 1 to 256; 0 is 1. One per vCPU is best
	QueueSize uint16 // entries of each; a power of two; 0 is 256
}

const (
	serialSize       = 20
	maxQueues        = 256
	defaultQueueSize = 256
)

// New makes the device. The backend stays the caller's, who closes it after
// the last Reset.
func New(c Config) (*Device, error) {
	if c.Queues == 0 {
		c.Queues = 1
	}
	if c.QueueSize == 0 {
		c.QueueSize = defaultQueueSize
	}
	if c.Queues < 0 || c.Queues > maxQueues {
		return nil, fmt.Errorf("block device: %d queues, 1 to %d are possible", c.Queues, maxQueues)
	}
	if n := c.QueueSize; n&(n-1) != 0 || n < 4 || n > 1024 {
		return nil, fmt.Errorf("block device: queue size %d is not a power of two from 4 to 1024", n)
	}
	if len(c.Serial) > serialSize {
		return nil, fmt.Errorf("block device: serial number %q is longer than %d bytes", c.Serial, serialSize)
	}
	d := &Device{Config: c, info: c.Backend.Info()}
	d.writeback.Store(true)
	return d, nil
}

var _ virtio.Device = (*Device)(nil)
