package blockclient

import (
	"time"

	"splitvm/remote"
	"splitvm/remote/blockwire"
	"splitvm/remote/wire"
)

// MaxReplicas is how many replicas a volume has at most.
const MaxReplicas = 4

// MaxSlices is how many slices a request's memory has at most.
const MaxSlices = remote.MaxBatch

// Request is one operation on a volume. The caller sets the first group of fields
// and submits it; from then until Done is called it, and the memory that it refers
// to, belong to the client.
type Request struct {
	Op      wire.Op  // blockwire.Read, Write, Flush, Discard or Zeroes
	Offset  uint64   // bytes, a multiple of remote.SectorSize
	Length  uint64   // likewise; of reads and writes at most remote.MaxBlockIO
	Memory  [][]byte // Length bytes, in at most MaxSlices
	Durable bool     // a change is on stable storage before it is done
	// Done is called once, with Err set. It must not block. It may submit.
	Done func(*Request)
	Err  error

	parts    [MaxReplicas]part
	meta     []byte // of control operations
	epoch    remote.Epoch
	reply    []byte
	replyAt  uint64 // the answer's offset
	only     *replica
	seq      uint64
	deadline time.Time
	counted  int   // replicas that it waits for
	acked    int   // those that have done it
	failed   int   // those that could not
	tried    uint8 // replicas that could not serve a read; bits
	gens     [MaxReplicas]uint64
	settled  uint64 // FLUSH: see Volume.settledFlush
	covers   uint64 // FLUSH: Volume.changed when it was submitted
	open     bool   // submitted and not done

	prev, next *Request // in Volume.open
}

// changes tells whether the operation changes the volume.
func (r *Request) changes() bool {
	return r.Op == blockwire.Write || r.Op == blockwire.Discard || r.Op == blockwire.Zeroes
}

// overlaps tells whether the request touches an extent.
func (r *Request) overlaps(extent uint64) bool {
	return r.Offset < (extent+1)*blockwire.ExtentSize && r.Offset+r.Length > extent*blockwire.ExtentSize
}

// part is a request's copy for one replica.
type part struct {
	req     *Request
	counts  bool // false: of a replica that joins, whose failure is only its own
	state   partState
	id      uint32
	err     error
	in      *partList
	before  *part
	after   *part
	lengthB [blockwire.LengthSize]byte
}

// partState is where a part is.
//
//	idle -> queued      submitted
//	queued -> flying    a sender took it into a message
//	flying -> landing   the header of its answer has come, a payload follows
//	flying, landing -> idle     answered
//	flying, landing -> queued   the connection was lost
//	queued, flying -> idle      given up
type partState uint8

const (
	idle partState = iota
	queued
	flying
	landing
)

// partList is parts in order.
type partList struct {
	head, tail *part
	n          int
}

func (l *partList) pushBack(p *part) {
	p.in, p.before, p.after = l, l.tail, nil
	if l.tail == nil {
		l.head = p
	} else {
		l.tail.after = p
	}
	l.tail = p
	l.n++
}

func (l *partList) pushFront(p *part) {
	p.in, p.before, p.after = l, nil, l.head
	if l.head == nil {
		l.tail = p
	} else {
		l.head.before = p
	}
	l.head = p
	l.n++
}

// remove takes a part out of the list that it is in, if any.
func (p *part) remove() {
	l := p.in
	if l == nil {
		return
	}
	if p.before == nil {
		l.head = p.after
	} else {
		p.before.after = p.after
	}
	if p.after == nil {
		l.tail = p.before
	} else {
		p.after.before = p.before
	}
	p.in, p.before, p.after = nil, nil, nil
	l.n--
}
