package server

import (
	"slices"
	"testing"
	"time"

	"splitvm/remote"
	"splitvm/remote/wire"
)

// greetedConn is a connection that has said hello and does nothing.
func greetedConn(id remote.SessionID, class wire.Class, incarnation uint64, attempt uint32) *conn {
	c := &conn{done: make(chan struct{})}
	c.greeting = wire.Greeting{Session: id, Class: class, Incarnation: incarnation, Attempt: attempt}
	return c
}

// What replace gives back is what is cut, and must end before the new connection
// is served.
func TestReplace(t *testing.T) {
	var s sessions
	replace := func(c *conn, want remote.Kind, displaced ...*conn) *conn {
		t.Helper()
		old, wait, err := s.replace(c)
		if remote.KindOf(err) != want || len(old) != len(displaced) || len(wait) < len(old) {
			t.Fatalf("%+v: displaced %d, waits for %d, %v; want %d, %v", c.greeting, len(old), len(wait), err, len(displaced), want)
		}
		for i := range old {
			if old[i] != displaced[i] {
				t.Fatalf("%+v: displaced another connection", c.greeting)
			}
		}
		return c
	}
	d1 := replace(greetedConn(1, wire.Demand, 5, 1), remote.OK)
	b1 := replace(greetedConn(1, wire.Bulk, 5, 1), remote.OK)
	replace(greetedConn(2, wire.Bulk, 0, 1), remote.OK) // another session
	b3 := replace(greetedConn(1, wire.Bulk, 5, 3), remote.OK, b1)
	replace(greetedConn(1, wire.Bulk, 5, 2), remote.Fenced) // delayed on its way
	replace(greetedConn(1, wire.Bulk, 5, 3), remote.Fenced)
	replace(greetedConn(1, wire.Bulk, 4, 9), remote.Fenced)
	s.leave(b1) // was displaced: nothing happens
	d9 := replace(greetedConn(1, wire.Demand, 9, 1), remote.OK, d1, b3)
	s.leave(b3)
	s.leave(d9)
	replace(greetedConn(1, wire.Demand, 9, 1), remote.Fenced) // although it has left
	replace(greetedConn(1, wire.Demand, 9, 2), remote.OK)
	replace(greetedConn(1, wire.Bulk, 5, 99), remote.Fenced)
}

// All connections of an incarnation wait for those of older ones, also of some
// that came in between, until these have ended.
func TestReplaceWaitsForOlder(t *testing.T) {
	var s sessions
	waits := func(c *conn, want ...*conn) *conn {
		t.Helper()
		_, wait, err := s.replace(c)
		if err != nil || len(wait) != len(want) {
			t.Fatalf("%+v: waits for %d connections, %v; want %d", c.greeting, len(wait), err, len(want))
		}
		for _, w := range want {
			if !slices.Contains(wait, (<-chan struct{})(w.done)) {
				t.Errorf("%+v: does not wait for %+v", c.greeting, w.greeting)
			}
		}
		return c
	}
	d1 := waits(greetedConn(1, wire.Demand, 1, 1))
	b1 := waits(greetedConn(1, wire.Bulk, 1, 1))
	d2 := waits(greetedConn(1, wire.Demand, 2, 1), d1, b1)
	b2 := waits(greetedConn(1, wire.Bulk, 2, 1), d1, b1)
	d3 := waits(greetedConn(1, wire.Demand, 2, 2), d1, b1, d2)
	close(d1.done)
	waits(greetedConn(1, wire.Bulk, 3, 1), b1, d3, b2)
	close(b1.done)
	close(b2.done)
	close(d3.done)
	waits(greetedConn(1, wire.Demand, 3, 1))
}

// Sessions that ended long ago are dropped, and only those.
func TestForget(t *testing.T) {
	var s sessions
	for i := range remote.SessionID(5 * firstSweep) {
		c := greetedConn(i, wire.Bulk, 0, 1)
		if _, _, err := s.replace(c); err != nil {
			t.Fatal(err)
		}
		if i%5 > 0 {
			s.leave(c)
			s.of[i].left = time.Now().Add(-2 * sessionMemory)
		}
	}
	if n := len(s.of); n > 3*firstSweep {
		t.Errorf("%d sessions are remembered, %d are connected", n, firstSweep)
	}
	for i := remote.SessionID(0); i < 5*firstSweep; i += 5 {
		if s.of[i] == nil {
			t.Fatalf("session %d was forgotten while it is connected", i)
		}
	}
}
