package blockclient

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"splitvm/remote"
	"splitvm/remote/blockwire"
	"splitvm/remote/transport"
)

// Config is which volume, and how to use it.
type Config struct {
	Monitors []string // addresses of the storage monitors, one for each replica
	Name     string
	ReadOnly bool
	Steal    bool // take it from a writer that is connected
	// Degraded opens the volume though not all of its members can be reached.
	// What only those have is lost.
	Degraded bool
	Timeout  time.Duration // of a request; default 30 s
	Grace    time.Duration // how long others wait for a replica that is away; default 2 s
	// Dial replaces transport.Dial.
	Dial func(ctx context.Context, address string) (transport.Conn, error)
	Log  *slog.Logger
}

// Volume is an open volume.
type Volume struct {
	cfg         Config
	session     remote.SessionID
	id          remote.VolumeID // immutable after Open, as are size and readOnly
	size        uint64
	readOnly    bool
	wg          sync.WaitGroup
	stop        context.CancelFunc
	writers     sync.WaitGroup
	stopWriters context.CancelFunc
	running     context.Context // until stop
	writing     context.Context // until stopWriters
	arrived     chan struct{}   // a replica has been opened, or could not be

	mu       sync.Mutex
	replicas []*replica // the list is replaced, never changed
	epoch    remote.Epoch
	fatal    error
	over     atomic.Pointer[error] // fatal, when it is set; not guarded
	seq      uint64
	open     requestList // what is not done, oldest first
	voting   bool        // a claim is under way
	copying  uint64      // extent that is being copied to one that joins; see noCopy
	held     []*Request  // changes to that extent
	flushed  []flushMark // flushes that all members did
	common   [MaxReplicas]uint64
	changed  uint64 // changes that are done and were not durable by themselves
	safe     uint64 // how many of them a flush has covered
}

const noCopy = ^uint64(0)

func (cfg *Config) complete() error {
	if n := len(cfg.Monitors); n < 1 || n > MaxReplicas {
		return fmt.Errorf("volume %q: %w: give 1 to %d storage monitors", cfg.Name, remote.Range, MaxReplicas)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 2 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Dial == nil {
		cfg.Dial = transport.Dial
	}
	return nil
}

func newSession() remote.SessionID {
	var b [8]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return remote.SessionID(binary.LittleEndian.Uint64(b[:]) | 1)
}

// Size returns the volume's size in bytes.
func (v *Volume) Size() uint64 { return v.size }

// Err returns why the volume can't be used any more; nil while it can.
func (v *Volume) Err() error {
	if err := v.over.Load(); err != nil {
		return *err
	}
	return nil
}

// ReadOnly tells whether the volume takes changes.
func (v *Volume) ReadOnly() bool { return v.readOnly }

// Submit starts a request. It does not wait for anything.
func (v *Volume) Submit(r *Request) {
	v.Queue(r)
	v.Send()
}

// Queue is Submit that may hold the request back until Send, so that several go
// out together.
func (v *Volume) Queue(r *Request) {
	if err := v.check(r); err != nil {
		r.Err = err
		r.Done(r)
		return
	}
	v.queue(r, time.Now().Add(v.cfg.Timeout))
}

// Send sends what is held back.
func (v *Volume) Send() { v.drain() }

func (v *Volume) check(r *Request) error {
	limit := uint64(remote.MaxBlockIO)
	switch r.Op {
	case blockwire.Flush:
		return nil
	case blockwire.Read:
	case blockwire.Write:
		if v.readOnly {
			return remote.ReadOnly
		}
	case blockwire.Discard, blockwire.Zeroes:
		limit = v.size
		if v.readOnly {
			return remote.ReadOnly
		}
	default:
		return remote.Unsupported
	}
	if r.Offset%remote.SectorSize != 0 || r.Length%remote.SectorSize != 0 || r.Length == 0 ||
		r.Length > limit || r.Offset > v.size || r.Length > v.size-r.Offset || len(r.Memory) > MaxSlices {
		return remote.Range
	}
	return nil
}

func (v *Volume) queue(r *Request, deadline time.Time) {
	var done []*Request
	v.mu.Lock()
	r.Err, r.acked, r.failed, r.counted, r.tried = nil, 0, 0, 0, 0
	for i := range r.parts {
		r.parts[i].req = nil // it may have been used before
	}
	r.deadline = deadline
	v.seq++
	r.seq = v.seq
	v.open.pushBack(r)
	switch {
	case v.fatal != nil:
		done = v.finish(done, r, v.fatal)
	case v.copying != noCopy && r.changes() && r.only == nil && r.overlaps(v.copying):
		v.held = append(v.held, r)
	default:
		done = v.route(done, r)
	}
	v.mu.Unlock()
	call(done)
}

// call tells the owners of requests that are done. No lock is held.
func call(done []*Request) {
	for _, r := range done {
		r.Done(r)
	}
}

// finish takes a request out. Preconditions: mu is held.
func (v *Volume) finish(done []*Request, r *Request, err error) []*Request {
	if !r.open {
		return done
	}
	v.open.remove(r)
	r.Err = err
	return append(done, r)
}

// route gives a request to the replicas that it concerns.
// Preconditions: mu is held.
func (v *Volume) route(done []*Request, r *Request) []*Request {
	switch {
	case r.only != nil && r.only.gone:
		return v.finish(done, r, remote.Disconnected)
	case r.only != nil:
		r.counted = 1
		r.only.enqueue(r, true)
		return done
	case r.Op == blockwire.Read:
		return v.routeRead(done, r)
	case r.Op == blockwire.Flush:
		r.settled, r.covers = v.settledFlush(), v.changed
	}
	for _, rep := range v.replicas {
		if rep.state != away && rep.state != unknown {
			r.counted++
			rep.enqueue(r, rep.state != joining)
		}
	}
	if r.counted == 0 {
		return v.finish(done, r, remote.Disconnected)
	}
	return done
}

// routeRead picks a member that is connected, or else one that may be soon.
func (v *Volume) routeRead(done []*Request, r *Request) []*Request {
	var at *replica
	for _, rep := range v.replicas {
		if rep.state != member || r.tried&(1<<rep.index) != 0 {
			continue
		}
		if at == nil || at.conn == nil && rep.conn != nil {
			at = rep
		}
	}
	if at == nil {
		err := r.parts[0].err
		for i := range r.parts {
			if r.parts[i].err != nil {
				err = r.parts[i].err
			}
		}
		if err == nil {
			err = remote.Disconnected
		}
		return v.finish(done, r, err)
	}
	r.counted = 1
	at.enqueue(r, true)
	return done
}

// requestList is requests in the order of their sequence.
type requestList struct{ head, tail *Request }

func (l *requestList) pushBack(r *Request) {
	r.open, r.prev, r.next = true, l.tail, nil
	if l.tail == nil {
		l.head = r
	} else {
		l.tail.next = r
	}
	l.tail = r
}

func (l *requestList) remove(r *Request) {
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
	r.open, r.prev, r.next = false, nil, nil
}
