package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"time"

	"splitvm/remote"
	"splitvm/remote/threads"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

// Limits of what waits in a connection to be sent. A message is only read when
// an answer of the largest size still fits.
const (
	maxAnswers = 512                    // answers in one send
	maxPinned  = 2 * remote.MaxBatch    // lines in one send
	vecSlices  = 2*maxAnswers - 1 + 1   // header and meta of each; see room
	quietly    = 100 * time.Millisecond // errors this soon after a shutdown are expected
	bulkAhead  = wire.HeaderSize + 8*64 // a header and 64 runs: little of a payload is copied
	patience   = 500 * time.Millisecond // how often a waiting connection looks around
)

// conn is one connection, served by one goroutine on a thread of its own, which
// does everything: receive, execute, send. It takes requests in order, so that
// those which touch the same line take effect in order, and sends answers when
// no further request is there to be executed.
type conn struct {
	server   *Server
	conn     transport.Conn
	log      *slog.Logger
	done     chan struct{} // closed when no request will be executed any more
	greeting wire.Greeting
	greeted  bool
	sums     bool // bodies carry checksums
	stream   *wire.Stream

	// The request under way.
	h       wire.Header
	runs    []remote.Run
	filling Filling
	sum     wire.BodySum

	// Answers not sent yet.
	out     *transport.Vec
	heads   []byte // maxAnswers headers
	metas   []byte // maxAnswers bitmaps
	answers int
	pinned  []Pinned
}

const bitmapSize = remote.MaxBatch / 8

func newConn(s *Server, tc transport.Conn) *conn {
	c := &conn{
		server: s,
		conn:   tc,
		log:    s.cfg.Log.With("peer", tc.Peer()),
		done:   make(chan struct{}),
		runs:   make([]remote.Run, 0, remote.MaxBatch),
		out:    transport.NewVec(transport.MaxVec),
		heads:  make([]byte, maxAnswers*wire.HeaderSize),
		metas:  make([]byte, maxAnswers*bitmapSize),
		pinned: make([]Pinned, 0, maxPinned),
	}
	c.filling = Filling{
		Mem:    make([][]byte, 0, remote.MaxBatch),
		Frames: make([]uint32, 0, remote.MaxBatch),
		Sums:   make([]uint32, 0, remote.MaxBatch),
	}
	return c
}

// serve runs the connection until it ends, for whatever reason.
func (c *conn) serve() {
	// The thread is this goroutine's: it would be blocked in recvmsg anyway, and
	// an unlocked one costs a hand-over when the runtime starts a replacement.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.done)
	defer c.conn.Close()
	c.stream = wire.NewStream(c.conn, c.streamConfig())
	err := c.conn.SetPatience(patience, patience)
	if err == nil {
		err = c.hello()
	}
	if err != nil {
		c.log.Warn("connection refused", "err", err)
		return
	}
	defer c.server.sessions.leave(c)
	c.log.Debug("connected", "class", c.greeting.Class, "session", fmt.Sprintf("%x", uint64(c.greeting.Session)))
	err = c.loop()
	c.server.cfg.Store.Unpin(c.pinned)
	c.ended(err)
}

func (c *conn) streamConfig() wire.StreamConfig {
	limit := c.server.cfg.MessageTimeout
	deadline := time.Now().Add(limit)
	return wire.StreamConfig{
		Limit: limit,
		Dry:   c.flush,
		Idle: func() error { // an idle client is fine, one that never says hello is not
			if !c.greeted && time.Now().After(deadline) {
				return fmt.Errorf("%w: no hello", remote.Timeout)
			}
			return nil
		},
	}
}

func (c *conn) ended(err error) {
	switch {
	case err == io.EOF || c.server.isClosed():
		c.log.Debug("disconnected", "class", c.greeting.Class)
	case errors.Is(err, remote.Protocol):
		c.server.metrics.Garbage.Add(1)
		c.log.Warn("connection closed", "class", c.greeting.Class, "err", err)
	default:
		c.log.Info("connection lost", "class", c.greeting.Class, "err", err)
	}
}

// hello reads the greeting, takes the session's place and answers.
func (c *conn) hello() error {
	if err := c.stream.Next(&c.h); err != nil {
		return err
	}
	if c.h.Op != wire.Hello || c.h.Length > wire.MaxMeta {
		return fmt.Errorf("%w: first message is %v of %d bytes", remote.Protocol, c.h.Op, c.h.Length)
	}
	body, err := c.stream.Take(int(c.h.Length))
	if err != nil {
		return err
	}
	if err := c.greeting.Decode(body); err != nil {
		return err
	}
	if err := c.server.sessions.enter(c); err != nil {
		c.answer(remote.KindOf(err))
		c.flush()
		return err
	}
	agreed := c.greeting.Options & c.server.cfg.Options
	var body24 [wire.WelcomeSize]byte
	w := wire.Welcome{Options: agreed, Instance: c.server.instance, Monitor: c.server.cfg.Monitor}
	w.Encode(body24[:])
	c.answerMeta(body24[:])
	if err := c.flush(); err != nil {
		c.server.sessions.leave(c)
		return err
	}
	c.sums = agreed&wire.OptSums != 0
	c.greeted = true
	if c.greeting.Class == wire.Bulk {
		c.stream.SetAhead(bulkAhead)
	}
	return nil
}

// loop executes requests until the stream ends.
func (c *conn) loop() error {
	demand := c.greeting.Class == wire.Demand
	f := threads.Follow(threads.Window, func() (int, bool) { return transport.SenderCPU(c.conn) })
	defer f.Stop()
	for {
		if c.answers > 0 {
			// Somebody waits for a demand: don't even look for more. Other
			// answers are sent when no request is there, or a send is full.
			if demand && c.stream.Buffered() < wire.HeaderSize {
				if err := c.flush(); err != nil {
					return err
				}
				f.Received(true)
			} else {
				c.stream.SetPending()
				if demand {
					f.Received(false)
				}
			}
		}
		if err := c.stream.Next(&c.h); err != nil {
			return err
		}
		start := time.Now()
		if err := c.execute(); err != nil {
			return err
		}
		c.server.metrics.observe(c.h.Op, time.Since(start))
		if c.full() {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
}

// execute does the request whose header was read. An error ends the connection;
// a request that fails is answered and is no error.
func (c *conn) execute() error {
	if c.server.isClosed() {
		return remote.Closing
	}
	switch c.h.Op {
	case wire.Read:
		return c.read()
	case wire.Write:
		return c.write()
	case wire.Discard:
		return c.discard()
	}
	return c.control()
}

// full tells that an answer of the largest size might not fit any more.
func (c *conn) full() bool {
	return c.answers == maxAnswers ||
		len(c.pinned)+remote.MaxBatch > maxPinned ||
		c.out.Room() < remote.MaxBatch+2
}
