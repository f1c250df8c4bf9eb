package client

import (
	"errors"

	"splitvm/remote"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// sendBuffer is the messages of one send.
type sendBuffer struct {
	vec   *transport.Vec
	heads []byte
	meta  []byte
	used  int // of meta
	count int // messages
}

func newSendBuffer() sendBuffer {
	return sendBuffer{
		vec:   transport.NewVec(transport.MaxVec),
		heads: make([]byte, maxMessages*wire.HeaderSize),
		meta:  make([]byte, metaBytes),
	}
}

func (b *sendBuffer) reset() {
	b.vec.Reset()
	b.used, b.count = 0, 0
}

// fits tells whether the message of r fits as well.
func (b *sendBuffer) fits(r *Request) bool {
	return b.count < maxMessages &&
		b.used+len(r.Runs)*wire.RunSize <= len(b.meta) &&
		b.vec.Room() >= len(r.Mem)+2
}

// add appends the message of r.
func (b *sendBuffer) add(r *Request, sums bool) {
	h := wire.Header{Op: r.Op, ID: r.id, Object: r.At.VRegion, Epoch: r.At.Epoch, Offset: r.arg}
	var meta []byte
	if len(r.Runs) > 0 {
		meta = h.PutRuns(r.Runs, b.meta[b.used:])
		b.used += len(meta)
	}
	h.Length = uint32(len(meta))
	if r.Op == wire.Write {
		h.Length += uint32(r.lines * remote.LineSize)
	}
	if sums && h.Length > 0 {
		h.Flags |= wire.FlagSum
		h.Sum = r.sum.Sum()
	}
	head := b.heads[b.count*wire.HeaderSize:][:wire.HeaderSize]
	b.count++
	h.Encode(head)
	b.vec.Add(head)
	b.vec.Add(meta)
	if r.Op == wire.Write {
		for _, m := range r.Mem {
			b.vec.Add(m)
		}
	}
}

// drain sends what is queued, unless somebody else is sending or will soon.
// It never blocks: where a send would, write goes on with it.
func (l *link) drain() {
	conn := l.begin()
	for conn != nil {
		err := l.trySend(conn)
		if errors.Is(err, transport.ErrWouldBlock) {
			l.kick <- struct{}{} // has room for one, and only the sender kicks
			return
		}
		conn = l.next(err)
	}
}

func (l *link) trySend(conn transport.Conn) error {
	for l.out.vec.Len() > 0 {
		if _, err := conn.TrySend(l.out.vec); err != nil {
			return err
		}
	}
	return nil
}

// write sends where drain would block. It outlives run, which waits for it when
// it is sending.
func (l *link) write() {
	for {
		select {
		case <-l.kick:
		case <-l.over:
			return
		}
		for conn := l.current(); conn != nil; {
			conn = l.next(l.blockingSend(conn))
		}
	}
}

func (l *link) blockingSend(conn transport.Conn) error {
	for l.out.vec.Len() > 0 {
		if _, err := conn.Send(l.out.vec); err != nil && !errors.Is(err, transport.ErrPatience) {
			return err
		}
	}
	return nil
}

// current returns the connection of the send that write goes on with. It is
// still there: run waits for the sender.
func (l *link) current() transport.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// begin makes the caller the sender, with messages in out, and returns the
// connection; nil if there is nothing to send, no connection, or a sender.
func (l *link) begin() transport.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sending || l.corked {
		return nil
	}
	return l.load()
}

// uncork sends what has been queued while run was taking answers. It is called
// by run before it waits.
func (l *link) uncork() error {
	l.mu.Lock()
	l.corked = false
	l.mu.Unlock()
	l.drain()
	return nil
}

// next ends a send and begins another one; nil if there is nothing to send.
func (l *link) next(err error) transport.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.reset()
	l.sending = false
	if err != nil {
		l.reset(err)
	}
	conn := l.load()
	if conn == nil {
		l.quiet.Broadcast()
	}
	return conn
}

// load fills out from the queue.
// Preconditions: mu is held, nobody is sending.
func (l *link) load() transport.Conn {
	if l.conn == nil || l.shutting || l.queue.head == nil || len(l.idle) == 0 {
		return nil
	}
	l.batch++
	for r := l.queue.head; r != nil && len(l.idle) > 0 && l.out.fits(r); r = l.queue.head {
		l.launch(r)
		l.out.add(r, l.sums)
	}
	l.sending = true
	return l.conn
}
