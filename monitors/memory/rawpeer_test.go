package memory_test

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"splitvm/monitors/memory"
	"splitvm/remote"
	"splitvm/remote/server"
	"splitvm/remote/wire"
)

// rawPeer is a client whose every byte a test decides.
type rawPeer struct {
	net.Conn
	t testing.TB
}

func rawDial(t testing.TB, address string) *rawPeer {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &rawPeer{c, t}
}

// greeted returns a peer that has said hello and was welcomed.
func greeted(t testing.TB, address string, g wire.Greeting) *rawPeer {
	t.Helper()
	p := rawDial(t, address)
	if h, _ := p.hello(g); h.Status != remote.OK {
		t.Fatalf("hello: %v", h.Status)
	}
	return p
}

func (p *rawPeer) hello(g wire.Greeting) (wire.Header, []byte) {
	p.t.Helper()
	b := make([]byte, wire.HelloSize)
	g.Encode(b)
	p.send(wire.Header{Op: wire.Hello}, b)
	return p.receive()
}

// bytes are a message; its length is the body's unless h has one.
func messageBytes(h wire.Header, body []byte) []byte {
	if h.Length == 0 {
		h.Length = uint32(len(body))
	}
	b := make([]byte, wire.HeaderSize, wire.HeaderSize+len(body))
	h.Encode(b)
	return append(b, body...)
}

func (p *rawPeer) send(h wire.Header, body []byte) {
	p.t.Helper()
	if _, err := p.Write(messageBytes(h, body)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *rawPeer) receive() (wire.Header, []byte) {
	p.t.Helper()
	var b [wire.HeaderSize]byte
	var h wire.Header
	if _, err := io.ReadFull(p, b[:]); err != nil {
		p.t.Fatal(err)
	}
	if err := h.Decode(b[:]); err != nil {
		p.t.Fatal(err)
	}
	body := make([]byte, h.Length)
	if _, err := io.ReadFull(p, body); err != nil {
		p.t.Fatal(err)
	}
	return h, body
}

// patience is what a peer, or what goes on beside the test, may take on a busy
// machine.
const patience = time.Minute

// wantClosed wants the server to close the connection.
func (p *rawPeer) wantClosed(what string) {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, p); err != nil && strings.Contains(err.Error(), "timeout") {
		p.t.Errorf("%s: connection is still open after %v", what, patience)
	}
}

// impatient is a monitor in this process that waits for peers for a second only.
func impatient(t testing.TB, lines int) (*memory.Store, *server.Server, string) {
	t.Helper()
	return waiting(t, lines, time.Second)
}

// patient is one that waits for a test that a busy machine stops half way.
func patient(t testing.TB, lines int) (*memory.Store, *server.Server, string) {
	t.Helper()
	return waiting(t, lines, patience)
}

// waiting is one that waits so long for the rest of a message.
func waiting(t testing.TB, lines int, limit time.Duration) (*memory.Store, *server.Server, string) {
	t.Helper()
	store := newStore(t, lines)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := server.New(server.Config{
		Store: store, Options: wire.OptSums, MessageTimeout: limit, Log: slog.New(slog.DiscardHandler),
	})
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return store, srv, l.Addr().String()
}

var owned = remote.Owned{VRegion: 1, Epoch: 1}

// header is a request for a run of the vRegion that tests use.
func header(op wire.Op, id uint32, first, count int) wire.Header {
	return wire.Header{Op: op, ID: id, Object: owned.VRegion, Epoch: owned.Epoch, Offset: uint64(first), Count: uint16(count)}
}

// fixSum makes the checksum of an encoded header right.
func fixSum(b []byte) {
	binary.LittleEndian.PutUint32(b[44:], wire.LineSum(b[:44]))
}
