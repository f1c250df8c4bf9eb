package storage

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"splitvm/monitors/storage/layer"
	"splitvm/remote"
	"splitvm/remote/blockwire"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

const (
	patience      = 500 * time.Millisecond // how often a waiting connection looks around
	silence       = 30 * time.Second       // a client says something at least this often
	maxBackground = 64                     // requests of a connection that wait for a disk

	// Payloads of up to smallPayload bytes are received together, up to maxAhead bytes
	// at once, and copied: that is cheaper than a system call for each.
	smallPayload = 16 << 10
	maxAhead     = 64 << 10
)

// conn is one connection, served by one goroutine on a thread of its own. It
// executes what changes a volume itself, in order; what waits for a disk goes on
// in the background.
type conn struct {
	server *dataServer
	conn   transport.Conn
	log    *slog.Logger
	done   chan struct{} // closed when no request will be executed any more
	stream *wire.Stream
	out    *answers
	heard  time.Time // when a message came last

	volume *Volume // after OPEN

	background sync.WaitGroup
	slots      chan struct{}

	h request // under way
}

// request is a request's header, and when it came.
type request struct {
	wire.Header
	began time.Time
}

func newConn(s *dataServer, tc transport.Conn) *conn {
	return &conn{
		server: s, conn: tc, log: s.log.With("peer", tc.Peer()), done: make(chan struct{}),
		out: newAnswers(tc, s.timeout), slots: make(chan struct{}, maxBackground), heard: time.Now(),
	}
}

// serve runs the connection until it ends, for whatever reason.
func (c *conn) serve() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer c.conn.Close()
	c.stream = wire.NewStream(c.conn, wire.StreamConfig{Limit: c.server.timeout, Dry: c.out.send, Idle: c.idle, Ahead: maxAhead})
	err := c.conn.SetPatience(patience, patience)
	if err == nil {
		err = c.loop()
	}
	c.background.Wait()
	c.out.send() // it has its error already, or lets go of the buffers
	if c.volume != nil {
		c.volume.detach(c)
	}
	close(c.done)
	if err == io.EOF {
		c.log.Debug("disconnected")
		return
	}
	c.log.Info("connection ended", "err", err)
}

// idle ends a connection whose client has gone without a word.
func (c *conn) idle() error {
	if time.Since(c.heard) > silence {
		return fmt.Errorf("%w: nothing heard for %v", remote.Timeout, silence)
	}
	return nil
}

func (c *conn) loop() error {
	for {
		if c.stream.Buffered() < wire.HeaderSize {
			c.stream.SetPending()
		}
		if err := c.stream.Next(&c.h.Header); err != nil {
			return err
		}
		c.heard = time.Now()
		c.h.began = c.heard
		if err := c.execute(); err != nil {
			return err
		}
	}
}

// execute does the request whose header was read. An error ends the connection;
// a request that fails is answered and is no error.
func (c *conn) execute() error {
	metaSize, payload, err := blockwire.BodySize(&c.h.Header)
	if err != nil {
		return err
	}
	if payload > smallPayload {
		c.stream.SetAhead(wire.MinAhead)
	} else {
		c.stream.SetAhead(maxAhead)
	}
	if payload > 0 {
		return c.write(payload)
	}
	meta, err := c.stream.Take(metaSize)
	if err != nil {
		return err
	}
	if c.h.Op == blockwire.Open {
		return c.open(meta)
	}
	if c.volume == nil && c.h.Op != wire.Ping {
		return fmt.Errorf("%w: %s before OPEN", remote.Protocol, blockwire.Name(c.h.Op))
	}
	switch c.h.Op {
	case wire.Ping:
		c.answer(c.h, nil)
	case blockwire.Claim:
		return c.claim(meta)
	case blockwire.Read:
		c.read()
	case blockwire.Flush:
		c.flush()
	case blockwire.Discard, blockwire.Zeroes:
		err := c.volume.Zero(c.h.Epoch, c.h.Offset, blockwire.Length(meta))
		c.finish(err)
	case blockwire.Changed:
		return c.changed(meta)
	default:
		c.answer(c.h, remote.Unsupported)
	}
	return nil
}

// answer queues an answer without a body to the request h.
func (c *conn) answer(h request, err error) {
	c.reply(h, err, 0, nil)
}

// reply queues an answer. An error has no body.
func (c *conn) reply(h request, err error, offset uint64, b *buffer) {
	a := wire.Header{Op: h.Op.Answer(), ID: h.ID, Object: h.Object, Offset: offset, Status: remote.KindOf(err)}
	c.server.metrics.answered(&h, err)
	if err != nil {
		c.log.Debug("request failed", "op", blockwire.Name(h.Op), "offset", h.Offset, "err", err)
		if b != nil {
			b.release()
			b = nil
		}
	}
	if b != nil {
		c.server.metrics.read.Add(float64(len(b.mem)))
	}
	c.out.add(&a, b)
}

// later runs do in the background, with the request's header, and sends the answer
// that it makes.
func (c *conn) later(do func(h request)) {
	h := c.h
	c.slots <- struct{}{}
	c.background.Go(func() {
		do(h)
		c.out.send()
		<-c.slots
	})
}

func (c *conn) open(meta []byte) error {
	var q blockwire.OpenRequest
	if err := q.Decode(meta); err != nil {
		return err
	}
	if c.volume != nil {
		return fmt.Errorf("%w: OPEN twice", remote.Protocol)
	}
	v, err := c.server.store.Named(q.Name)
	if err == nil && q.Writer {
		err = v.attach(c, q.Session)
	}
	if err != nil {
		c.answer(c.h, outcome(err))
		return nil
	}
	c.volume = v
	o := v.opened()
	o.Boot = c.server.boot
	text := o.Append(nil)
	b := newBuffer(len(text))
	copy(b.mem, text)
	c.reply(c.h, nil, 0, b)
	return nil
}

func (c *conn) claim(meta []byte) error {
	var q blockwire.ClaimRequest
	if err := q.Decode(meta); err != nil {
		return err
	}
	c.answer(c.h, c.volume.claim(c, c.h.Epoch, &q))
	return nil
}

// read answers at once from what is in memory, or else in the background.
func (c *conn) read() {
	b := newBuffer(int(c.h.Count) * remote.SectorSize)
	err := c.volume.Read(c.h.Offset, b.mem, true)
	if !errors.Is(err, layer.ErrWouldBlock) {
		c.reply(c.h, err, 0, b)
		return
	}
	c.later(func(h request) { c.reply(h, c.volume.Read(h.Offset, b.mem, false), 0, b) })
}

func (c *conn) write(n int) error {
	b := newBuffer(n)
	defer b.release()
	if err := c.stream.Fill([][]byte{b.mem}); err != nil {
		return err
	}
	if c.volume == nil {
		return fmt.Errorf("%w: %s before OPEN", remote.Protocol, blockwire.Name(c.h.Op))
	}
	c.server.metrics.written.Add(float64(n))
	c.finish(c.volume.Write(c.h.Epoch, c.h.Offset, b.mem))
	return nil
}

// finish answers a change, after a flush if that was asked for.
func (c *conn) finish(err error) {
	if err != nil || c.h.Flags&blockwire.FlagDurable == 0 {
		c.answer(c.h, err)
		return
	}
	c.later(func(h request) {
		_, err := c.volume.Flush()
		c.answer(h, err)
	})
}

func (c *conn) flush() {
	if c.h.Offset > 0 {
		c.volume.setCommon(c.h.Offset)
	}
	c.later(func(h request) {
		gen, err := c.volume.Flush()
		c.reply(h, err, gen, nil)
	})
}

func (c *conn) changed(meta []byte) error {
	var q blockwire.ChangedRequest
	if err := q.Decode(meta); err != nil {
		return err
	}
	c.later(func(h request) {
		extents, next, err := c.volume.changed(q.Away, h.Offset)
		if err != nil || len(extents) == 0 {
			c.reply(h, err, next, nil)
			return
		}
		b := newBuffer(4 * len(extents))
		copy(b.mem, blockwire.AppendExtents(nil, extents))
		c.reply(h, nil, next, b)
	})
	return nil
}
