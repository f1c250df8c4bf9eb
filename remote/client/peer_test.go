package client

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"splitvm/remote"
	"splitvm/remote/wire"
)

// peer is a monitor whose every byte a test decides: a listener, and a script
// for each connection after its greeting. What a monitor does in earnest is
// tested in monitors/memory.
type peer struct {
	t        *testing.T
	l        net.Listener
	instance remote.InstanceID

	mu      sync.Mutex
	options wire.Options
	refuse  remote.Kind // answer to hello
	conns   []net.Conn
	count   [wire.Classes]int
	wg      sync.WaitGroup
}

// script handles connection number n (from 1) of a class; when it returns the
// connection is closed.
type script func(p *peerConn, n int)

// newPeer serves the scripts; nil answers every request with success.
func newPeer(t *testing.T, demand, bulk script) *peer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, l: l, instance: 77}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, c)
			p.mu.Unlock()
			p.wg.Go(func() {
				defer c.Close()
				p.serve(c, demand, bulk)
			})
		}
	})
	t.Cleanup(p.close)
	return p
}

// set changes the peer under its lock.
func (p *peer) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *peer) close() {
	p.l.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *peer) serve(c net.Conn, demand, bulk script) {
	pc := &peerConn{Conn: c}
	h, body, err := pc.request()
	if err != nil || h.Op != wire.Hello {
		return
	}
	var g wire.Greeting
	if err := g.Decode(body); err != nil {
		p.t.Error(err)
		return
	}
	p.mu.Lock()
	p.count[g.Class]++
	n, instance, refuse, options := p.count[g.Class], p.instance, p.refuse, p.options
	p.mu.Unlock()
	if refuse != remote.OK {
		pc.answer(wire.Header{Op: wire.Hello, ID: h.ID, Status: refuse}, nil)
		return
	}
	w := make([]byte, wire.WelcomeSize)
	welcome := wire.Welcome{Instance: instance, Options: g.Options & options}
	welcome.Encode(w)
	pc.answer(wire.Header{Op: wire.Hello, ID: h.ID}, w)
	run := [...]script{demand, bulk}[g.Class]
	if run == nil {
		run = obliging
	}
	run(pc, n)
}

// obliging answers everything with success, reads with the line's number.
func obliging(p *peerConn, _ int) {
	for {
		h, _, err := p.request()
		if err != nil {
			return
		}
		p.oblige(h)
	}
}

// peerConn is the peer's side of a connection.
type peerConn struct {
	net.Conn
}

// request reads a request and its body.
func (p *peerConn) request() (wire.Header, []byte, error) {
	var b [wire.HeaderSize]byte
	var h wire.Header
	if _, err := io.ReadFull(p, b[:]); err != nil {
		return h, nil, err
	}
	if err := h.Decode(b[:]); err != nil {
		return h, nil, err
	}
	body := make([]byte, h.Length)
	_, err := io.ReadFull(p, body)
	return h, body, err
}

// encoded is an answer: h.Op is the request's.
func encoded(h wire.Header, body []byte) []byte {
	h.Op, h.Length = h.Op.Answer(), uint32(len(body))
	b := make([]byte, wire.HeaderSize, wire.HeaderSize+len(body))
	h.Encode(b)
	return append(b, body...)
}

func (p *peerConn) answer(h wire.Header, body []byte) {
	p.Write(encoded(h, body))
}

// oblige answers with success.
func (p *peerConn) oblige(h wire.Header) {
	answer := wire.Header{Op: h.Op, ID: h.ID}
	if h.Op == wire.Read {
		p.answer(answer, lineOf(h))
		return
	}
	p.answer(answer, nil)
}

// lineOf is what the peer holds in the lines of a single-run read.
func lineOf(h wire.Header) []byte {
	b := make([]byte, int(h.Count)*remote.LineSize)
	for i := range int(h.Count) {
		binary.LittleEndian.PutUint64(b[i*remote.LineSize:], h.Offset+uint64(i)+1000)
		binary.LittleEndian.PutUint64(b[(i+1)*remote.LineSize-8:], h.Offset+uint64(i)+1000)
	}
	return b
}

// holds tells whether mem has what lineOf gives for lines from first on.
func holds(mem []byte, first int) bool {
	for i := range len(mem) / remote.LineSize {
		m := mem[i*remote.LineSize:][:remote.LineSize]
		want := uint64(first + i + 1000)
		if binary.LittleEndian.Uint64(m) != want || binary.LittleEndian.Uint64(m[remote.LineSize-8:]) != want {
			return false
		}
	}
	return true
}

// dial connects to the peer.
func (p *peer) dial(cfg Config) *Client {
	p.t.Helper()
	cfg.Address = p.l.Addr().String()
	cfg.Log = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(p.t.Context(), ample)
	defer cancel()
	c, err := Dial(ctx, cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	return c
}

// connections returns how many connections of a class were greeted.
func (p *peer) connections(class wire.Class) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[class]
}

// ample is what only a hang exceeds, on a busy machine too.
const ample = time.Minute

// pending is a request that a test waits for.
type pending struct {
	Request
	done chan struct{}
	mem  []byte
}

func newPending(op wire.Op, first, count int) *pending {
	p := &pending{done: make(chan struct{}), mem: make([]byte, count*remote.LineSize)}
	p.Request = Request{
		Op: op, At: remote.Owned{VRegion: 1, Epoch: 1}, Runs: []remote.Run{{First: remote.Line(first), Count: uint32(count)}},
		Done: func(*Request) { close(p.done) },
	}
	if op != wire.Discard {
		p.Mem = [][]byte{p.mem}
	}
	return p
}

// wait waits for Done and returns the error.
func (p *pending) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-p.done:
		return p.Err
	case <-time.After(ample):
		t.Fatalf("%v of %v is not done", p.Op, p.Runs)
		return nil
	}
}
