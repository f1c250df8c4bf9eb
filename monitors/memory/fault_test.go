package memory_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"splitvm/monitors/memory"
	"splitvm/remote"
	"splitvm/remote/client"
	"splitvm/remote/wire"
)

// filled is n lines of one byte.
func filled(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n*remote.LineSize) }

// hold makes the vRegion and writes lines 0 to n-1 with one byte each.
func hold(t testing.TB, s *memory.Store, n int, b byte) {
	t.Helper()
	if err := s.Create(t.Context(), owned, 1000); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteLines(t.Context(), owned, []remote.Run{{First: 0, Count: uint32(n)}}, [][]byte{filled(n, b)}); err != nil {
		t.Fatal(err)
	}
}

// wantLines wants lines first and on to have one byte.
func wantLines(t testing.TB, s remote.LineStore, first, n int, b byte) {
	t.Helper()
	mem := filled(n, ^b)
	zero, err := s.ReadLines(t.Context(), owned, []remote.Run{{First: remote.Line(first), Count: uint32(n)}}, [][]byte{mem})
	if err != nil || !zero.None() {
		t.Fatalf("zero %v, %v", zero, err)
	}
	if !bytes.Equal(mem, filled(n, b)) {
		t.Errorf("lines %d to %d are not what was acknowledged", first, first+n-1)
	}
}

func TestGarbagePeers(t *testing.T) {
	store, srv, addr := impatient(t, 1024)
	hold(t, store, 10, 7)
	good := connect(t, client.Config{Address: addr})
	hello := wire.Greeting{Class: wire.Bulk, Attempt: 1}
	rng := rand.New(rand.NewPCG(7, 8))
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	for i, c := range []struct {
		name  string
		bytes []byte
		hello bool
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: example\r\nUser-Agent: something\r\n\r\n"), false},
		{"noise", noise, false},
		{"zeroes", make([]byte, 1000), false},
		{"a request before hello", messageBytes(header(wire.Read, 1, 0, 1), nil), false},
		{"a short hello", messageBytes(wire.Header{Op: wire.Hello}, make([]byte, 5)), false},
		{"a hello of a megabyte", messageBytes(wire.Header{Op: wire.Hello}, make([]byte, 1<<20)), false},
		{"a hello of an unknown class", messageBytes(wire.Header{Op: wire.Hello}, filled(1, 9)[:wire.HelloSize]), false},
		{"noise after hello", noise, true},
		{"write of no lines", messageBytes(header(wire.Write, 1, 0, 0), nil), true},
		{"write of less than it says", messageBytes(header(wire.Write, 1, 0, 2), filled(1, 1)), true},
		{"write of more than it says", messageBytes(header(wire.Write, 1, 0, 1), filled(2, 1)), true},
		{"write of 65535 lines", messageBytes(header(wire.Write, 1, 0, 65535), filled(256, 1)), true},
		{"read with a body", messageBytes(header(wire.Read, 1, 0, 1), filled(1, 1)), true},
		{"runs that are not there", messageBytes(wire.Header{Op: wire.Read, Flags: wire.FlagRuns, Count: 10}, make([]byte, 79)), true},
		{"too many runs", messageBytes(wire.Header{Op: wire.Discard, Flags: wire.FlagRuns, Count: 257}, make([]byte, 257*8)), true},
		{"too long a body", messageBytes(wire.Header{Op: wire.Ping, Length: wire.MaxBody + 1}, nil), true},
	} {
		var p *rawPeer
		if c.hello {
			hello.Session = remote.SessionID(100 + i)
			p = greeted(t, addr, hello)
		} else {
			p = rawDial(t, addr)
		}
		p.Write(c.bytes)
		p.wantClosed(c.name)
		wantLines(t, good, 0, 10, 7)
	}
	if n := srv.Metrics().Garbage.Load(); n < 8 {
		t.Errorf("%d garbage connections were counted", n)
	}
}

// Requests that are wrong, but well formed, are refused, and the connection
// goes on: with operations of a later version too.
func TestRefusals(t *testing.T) {
	store, _, addr := patient(t, 1024)
	hold(t, store, 10, 7)
	p := greeted(t, addr, wire.Greeting{Class: wire.Bulk, Attempt: 1, Session: 1, Options: wire.OptSums})
	sum := func(h wire.Header, body []byte) wire.Header {
		var s wire.BodySum
		s.Reset(nil)
		for ; len(body) > 0; body = body[remote.LineSize:] {
			s.AddLine(wire.LineSum(body[:remote.LineSize]))
		}
		h.Flags |= wire.FlagSum
		h.Sum = s.Sum()
		return h
	}
	stale := header(wire.Write, 0, 0, 2)
	stale.Epoch = 0
	spoiled := sum(header(wire.Write, 0, 0, 2), filled(2, 9))
	spoiled.Sum++
	spoiledRuns := wire.Header{Op: wire.Discard, Object: 1, Epoch: 1, Flags: wire.FlagRuns | wire.FlagSum, Count: 1, Sum: 5}
	for i, c := range []struct {
		name string
		h    wire.Header
		body []byte
		want remote.Kind
	}{
		{"unknown operation", wire.Header{Op: 77}, nil, remote.Unsupported},
		{"unknown operation with a body", wire.Header{Op: 78}, filled(10, 1), remote.Unsupported},
		{"read past the end", header(wire.Read, 0, 1000, 1), nil, remote.Range},
		{"read of nothing", header(wire.Read, 0, 0, 0), nil, remote.Range},
		{"read of too much", header(wire.Read, 0, 0, 257), nil, remote.Range},
		{"write past the end", sum(header(wire.Write, 0, 999, 2), filled(2, 9)), filled(2, 9), remote.Range},
		{"stale write", sum(stale, filled(2, 9)), filled(2, 9), remote.StaleEpoch},
		{"spoiled write", spoiled, filled(2, 9), remote.Corrupt},
		{"spoiled runs", spoiledRuns, []byte{0, 0, 0, 0, 5, 0, 0, 0}, remote.Corrupt},
		{"good write", sum(header(wire.Write, 0, 20, 2), filled(2, 5)), filled(2, 5), remote.OK},
	} {
		c.h.ID = uint32(1000 + i)
		p.send(c.h, c.body)
		h, body := p.receive()
		if h.Status != c.want || h.ID != c.h.ID || len(body) != 0 || h.Op != c.h.Op.Answer() {
			t.Errorf("%s: %v %v, id %d, %d bytes; want %v", c.name, h.Op, h.Status, h.ID, len(body), c.want)
		}
	}
	wantLines(t, store, 0, 10, 7)
	wantLines(t, store, 20, 2, 5)
}

// A write that is cut short anywhere changes nothing, and its frames come back.
func TestCutWrite(t *testing.T) {
	store, _, addr := patient(t, 64)
	hold(t, store, 20, 7)
	whole := messageBytes(header(wire.Write, 1, 0, 20), filled(20, 9))
	free := store.FreeFrames()
	for i, cut := range []int{1, 47, 48, 49, 48 + 4095, 48 + 4096, 48 + 4097, 48 + 19*4096 + 1, len(whole) - 1} {
		p := greeted(t, addr, wire.Greeting{Class: wire.Bulk, Attempt: 1, Session: remote.SessionID(i)})
		p.Write(whole[:cut])
		p.Close()
		wantLines(t, store, 0, 20, 7)
	}
	eventually(t, "frames of cut writes come back", func() bool { return store.FreeFrames() == free })
	wantLines(t, store, 0, 20, 7)
}

// eventually waits for what another goroutine does.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// Peers that stop are left after the message timeout, and what they held comes
// back; idle peers are kept.
func TestSlowPeers(t *testing.T) {
	store, srv, addr := impatient(t, 4096)
	hold(t, store, 256, 7)
	free := store.FreeFrames()
	idle := greeted(t, addr, wire.Greeting{Class: wire.Demand, Attempt: 1, Session: 1})

	silent := rawDial(t, addr)
	halfHello := rawDial(t, addr)
	halfHello.Write(messageBytes(wire.Header{Op: wire.Hello}, make([]byte, 32))[:60])
	halfWrite := greeted(t, addr, wire.Greeting{Class: wire.Bulk, Attempt: 1, Session: 2})
	halfWrite.Write(messageBytes(header(wire.Write, 1, 0, 20), filled(20, 9))[:50000])
	deaf := greeted(t, addr, wire.Greeting{Class: wire.Bulk, Attempt: 1, Session: 3})
	request := messageBytes(header(wire.Read, 1, 0, 256), nil)
	deaf.SetWriteDeadline(time.Now().Add(patience))
	for range 200 { // 200 MiB of answers
		if _, err := deaf.Write(request); err != nil {
			break
		}
	}
	// What is overwritten meanwhile is still being sent, and must come back too.
	if err := store.WriteLines(t.Context(), owned, []remote.Run{{First: 0, Count: 256}}, [][]byte{filled(256, 8)}); err != nil {
		t.Fatal(err)
	}
	silent.wantClosed("no hello")
	halfHello.wantClosed("half a hello")
	halfWrite.wantClosed("half a write")
	eventually(t, "the peer that does not read is left", func() bool { return srv.Metrics().Connections.Load() == 1 })
	eventually(t, "frames come back", func() bool { return store.FreeFrames() == free })

	idle.send(wire.Header{Op: wire.Ping, ID: 5}, nil)
	if h, _ := idle.receive(); h.ID != 5 || h.Status != remote.OK {
		t.Errorf("idle peer: %+v", h)
	}
	wantLines(t, store, 0, 256, 8)
}

// A write that is stuck half way on an old connection is void once a newer
// connection of its session has been greeted.
func TestFencing(t *testing.T) {
	store, _, addr := patient(t, 1024)
	hold(t, store, 20, 7)
	greet := func(class wire.Class, incarnation uint64, attempt uint32) (*rawPeer, remote.Kind) {
		p := rawDial(t, addr)
		h, _ := p.hello(wire.Greeting{Class: class, Session: 9, Incarnation: incarnation, Attempt: attempt})
		return p, h.Status
	}
	must := func(p *rawPeer, k remote.Kind) *rawPeer {
		t.Helper()
		if k != remote.OK {
			t.Fatal(k)
		}
		return p
	}
	write := messageBytes(header(wire.Write, 1, 0, 20), filled(20, 9))
	stuck := must(greet(wire.Bulk, 1, 1))
	stuck.Write(write[:70000])
	demand := must(greet(wire.Demand, 1, 1))

	second := must(greet(wire.Bulk, 1, 2))
	stuck.Write(write[70000:])
	stuck.wantClosed("displaced by the next attempt")
	second.Write(write[:50])
	demand.send(wire.Header{Op: wire.Ping, ID: 1}, nil)
	demand.receive() // the other class goes on

	for _, old := range []struct {
		incarnation uint64
		attempt     uint32
	}{{1, 2}, {1, 1}, {0, 100}} {
		if _, k := greet(wire.Bulk, old.incarnation, old.attempt); k != remote.Fenced {
			t.Errorf("incarnation %d attempt %d: %v, want fenced", old.incarnation, old.attempt, k)
		}
	}

	third := must(greet(wire.Bulk, 2, 1)) // a new process: both classes of the old one go
	second.Write(write[50:])
	second.wantClosed("displaced by the next incarnation")
	demand.wantClosed("demand of the old incarnation")
	if _, k := greet(wire.Demand, 1, 50); k != remote.Fenced {
		t.Errorf("demand of the old incarnation: %v, want fenced", k)
	}
	third.send(wire.Header{Op: wire.Ping, ID: 1}, nil)
	third.receive()
	wantLines(t, store, 0, 20, 7)
}

// A write under an epoch that is given up while its payload arrives is void.
func TestAdoptDuringWrite(t *testing.T) {
	store, _, addr := patient(t, 1024)
	hold(t, store, 20, 7)
	p := greeted(t, addr, wire.Greeting{Class: wire.Bulk, Attempt: 1, Session: 1})
	write := messageBytes(header(wire.Write, 1, 0, 20), filled(20, 9))
	p.Write(write[:70000])
	eventually(t, "the write has its frames", func() bool { return store.FreeFrames() < initialFree(1024)-20 })
	newer := remote.Owned{VRegion: owned.VRegion, Epoch: 2}
	if err := store.Adopt(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	p.Write(write[70000:])
	if h, _ := p.receive(); h.Status != remote.StaleEpoch {
		t.Errorf("answer %v, want stale epoch", h.Status)
	}
	mem := filled(20, 0)
	if _, err := store.ReadLines(t.Context(), newer, []remote.Run{{Count: 20}}, [][]byte{mem}); err != nil || !bytes.Equal(mem, filled(20, 7)) {
		t.Errorf("lines were changed by a stale write (%v)", err)
	}
}

// initialFree is how many frames a new store of so many lines has.
func initialFree(lines int) int { return lines + memory.MinHeadroom }
