package server

import (
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

// What replace gives back is what must end before the new connection is served.
func TestReplace(t *testing.T) {
	var s sessions
	replace := func(c *conn, want remote.Kind, displaced ...*conn) *conn {
		t.Helper()
		old, err := s.replace(c)
		if remote.KindOf(err) != want || len(old) != len(displaced) {
			t.Fatalf("%+v: displaced %d, %v; want %d, %v", c.greeting, len(old), err, len(displaced), want)
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

// Sessions that ended long ago are dropped, and only those.
func TestForget(t *testing.T) {
	var s sessions
	for i := range remote.SessionID(5 * firstSweep) {
		c := greetedConn(i, wire.Bulk, 0, 1)
		if _, err := s.replace(c); err != nil {
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
