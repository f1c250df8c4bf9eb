package client

import (
	"encoding/binary"
	"fmt"

	"splitvm/remote"
	"splitvm/remote/threads"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// receiveBuffer is what run needs to receive.
type receiveBuffer struct {
	h    wire.Header
	sum  wire.BodySum
	fill [][]byte // memory of the lines that an answer has
}

func newReceiveBuffer() receiveBuffer {
	return receiveBuffer{fill: make([][]byte, 0, remote.MaxBatch)}
}

var (
	errNotAnswer = fmt.Errorf("%w: the monitor sent a request", remote.Protocol)
	errAnswer    = fmt.Errorf("%w: answer does not match its request", remote.Protocol)
)

// corkFor is for how many answers in a row requests that are submitted meanwhile
// wait, on a bulk connection, to be sent together.
const corkFor = 16

// How much is read ahead: when only short answers are expected, and on a demand
// connection. The answer of a demand is there with its line, so that one
// call takes both; to copy a warm line costs a tenth of a second call.
const (
	ackAhead    = 32 * wire.HeaderSize
	demandAhead = wire.HeaderSize + remote.LineSize
)

// receive takes answers from the stream until it fails.
func (l *link) receive(conn transport.Conn, s *wire.Stream) error {
	f := threads.Follow(threads.LongWindow, func() (int, bool) { return transport.SenderCPU(conn) })
	defer f.Stop()
	for n := 1; ; n++ {
		if l.class == wire.Bulk {
			s.SetPending()
			if n%corkFor == 0 {
				l.uncork()
			}
		}
		if err := s.Next(&l.in.h); err != nil {
			return err
		}
		if !l.in.h.Op.IsAnswer() {
			return errNotAnswer
		}
		alone, err := l.answer(s)
		if err != nil {
			return err
		}
		if l.class == wire.Demand {
			f.Received(alone)
		}
	}
}

// answer completes the request that the header in l.in belongs to; alone: there was no other.
func (l *link) answer(s *wire.Stream) (alone bool, err error) {
	h := &l.in.h
	l.mu.Lock()
	l.heard++
	r := l.flying(h.ID)
	switch {
	case r == nil:
		l.mu.Unlock()
		return false, s.Skip(int(h.Length))
	case r.Op != h.Op.Request():
		l.mu.Unlock()
		return false, errAnswer
	case h.Length > 0:
		r.state = landing
		l.mu.Unlock()
		if err := l.body(s, r); err != nil {
			return false, err
		}
		l.mu.Lock()
	}
	l.land(r)
	alone = l.flight.n == 0
	waiting := l.queue.head != nil && !l.sending
	l.corked = l.class == wire.Bulk
	s.SetAhead(l.ahead())
	l.mu.Unlock()
	r.result(h)
	r.Done(r)
	if waiting {
		l.drain() // there is a slot now
	}
	return alone, nil
}

// ahead returns how much to read together with the next header.
// Preconditions: mu is held.
func (l *link) ahead() int {
	switch {
	case l.class == wire.Demand:
		return demandAhead
	case l.reads > 0:
		return wire.MinAhead
	}
	return ackAhead
}

// result sets the request's outcome, except for what body has set.
func (r *Request) result(h *wire.Header) {
	if h.Status != remote.OK {
		r.Err = h.Status
		if r.Op == wire.Delete && h.Status == remote.NoVRegion && r.sends > 1 {
			r.Err = nil // the first one was executed
		}
		return
	}
	r.reply = *h
	if r.Op == wire.Read && h.Flags&wire.FlagZero != 0 {
		r.Zero.AddFirst(r.lines)
	}
}

// body receives the body of the answer to r.
func (l *link) body(s *wire.Stream, r *Request) error {
	h := &l.in.h
	if h.Status != remote.OK {
		return errAnswer
	}
	if r.Op != wire.Read {
		return r.metaBody(s, h)
	}
	mem, meta, err := l.shape(s, r)
	if err != nil {
		return err
	}
	l.in.sum.Reset(meta)
	if err := s.Fill(mem); err != nil {
		return err
	}
	if h.Flags&wire.FlagSum == 0 {
		return nil
	}
	for _, m := range mem {
		l.in.sum.AddLines(m)
	}
	if l.in.sum.Sum() != h.Sum {
		r.Err = remote.Corrupt
	}
	return nil
}

// shape returns the memory that the payload of a READ's answer goes to.
func (l *link) shape(s *wire.Stream, r *Request) (mem [][]byte, meta []byte, err error) {
	h := &l.in.h
	if h.Flags&wire.FlagMap == 0 {
		if int(h.Length) != r.lines*remote.LineSize || h.Flags&wire.FlagZero != 0 {
			return nil, nil, errAnswer
		}
		return r.Mem, nil, nil
	}
	words := (r.lines + 63) / 64
	if int(h.Length) < words*8 {
		return nil, nil, errAnswer
	}
	if meta, err = s.Take(words * 8); err != nil {
		return nil, nil, err
	}
	for i := range words {
		r.Zero[i] = binary.LittleEndian.Uint64(meta[i*8:])
	}
	held := r.lines - r.Zero.Count()
	if r.lines&63 != 0 && r.Zero[words-1]>>(r.lines&63) != 0 || int(h.Length) != words*8+held*remote.LineSize {
		return nil, nil, errAnswer
	}
	return l.scatter(r), meta, nil
}

// scatter lists the memory of the lines that are not zero.
func (l *link) scatter(r *Request) [][]byte {
	l.in.fill = l.in.fill[:0]
	i := 0
	for _, m := range r.Mem {
		for ; len(m) > 0; m = m[remote.LineSize:] {
			if !r.Zero.Has(i) {
				l.in.fill = append(l.in.fill, m[:remote.LineSize])
			}
			i++
		}
	}
	return l.in.fill
}

// metaBody receives the body of a control operation's answer.
func (r *Request) metaBody(s *wire.Stream, h *wire.Header) error {
	if h.Length > wire.MaxMeta {
		return errAnswer
	}
	b, err := s.Take(int(h.Length))
	if err != nil {
		return err
	}
	r.body = append([]byte(nil), b...)
	if h.Flags&wire.FlagSum != 0 {
		var sum wire.BodySum
		if sum.Reset(b); sum.Sum() != h.Sum {
			r.Err = remote.Corrupt
		}
	}
	return nil
}
