package server

import (
	"fmt"
	"sync"
	"time"

	"splitvm/remote"
	"splitvm/remote/wire"
)

// sessions fences: of each session only the newest incarnation has connections,
// and of that at most one of each class. When enter returns, no request of a
// connection that was displaced is being executed or will be. So a client that
// reconnects may send a write again: the copy on the old connection, wherever
// it was stuck, cannot take effect after a later write.
//
// A displaced connection is waited for without the lock. It ends soon: its
// socket is shut down, and the store does not block.
//
// A session without connections is remembered for at least sessionMemory, which
// is longer than a network keeps anything.
type sessions struct {
	mu    sync.Mutex
	of    map[remote.SessionID]*session // guarded by mu
	sweep int                           // size at which to look for forgotten ones; guarded by mu
}

const (
	sessionMemory = time.Hour
	firstSweep    = 1024
)

type session struct {
	incarnation uint64
	left        time.Time // when a connection last left
	slots       [wire.Classes]slot
}

// slot is the place of one class. The attempt stays when the connection has
// gone, so that an older one that was delayed on its way finds it.
type slot struct {
	attempt uint32
	conn    *conn
}

// enter makes c, whose greeting was read, the connection of its session and
// class. Fenced if a newer one has been here. The caller calls leave in the end.
func (t *sessions) enter(c *conn) error {
	old, err := t.replace(c)
	for _, o := range old {
		o.conn.Shutdown()
		<-o.done
	}
	return err
}

func (t *sessions) replace(c *conn) ([]*conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = map[remote.SessionID]*session{}
	}
	g := c.greeting
	s := t.of[g.Session]
	if s == nil {
		t.forget()
		s = &session{incarnation: g.Incarnation}
		t.of[g.Session] = s
	}
	var old []*conn
	switch at := &s.slots[g.Class]; {
	case g.Incarnation < s.incarnation,
		g.Incarnation == s.incarnation && g.Attempt <= at.attempt:
		return nil, fmt.Errorf("session %x incarnation %d attempt %d: %w", g.Session, g.Incarnation, g.Attempt, remote.Fenced)
	case g.Incarnation > s.incarnation:
		for i := range s.slots {
			old = appendConn(old, s.slots[i].conn)
		}
		*s = session{incarnation: g.Incarnation}
	default:
		old = appendConn(old, at.conn)
	}
	s.slots[g.Class] = slot{attempt: g.Attempt, conn: c}
	return old, nil
}

func appendConn(to []*conn, c *conn) []*conn {
	if c == nil {
		return to
	}
	return append(to, c)
}

// leave forgets c, unless it was displaced.
func (t *sessions) leave(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.of[c.greeting.Session]
	if s == nil || s.slots[c.greeting.Class].conn != c {
		return
	}
	s.slots[c.greeting.Class].conn = nil
	s.left = time.Now()
}

// forget drops sessions that ended long ago, when there are many.
// Preconditions: mu is held.
func (t *sessions) forget() {
	if len(t.of) < max(t.sweep, firstSweep) {
		return
	}
	for id, s := range t.of {
		if s.idle() && time.Since(s.left) > sessionMemory {
			delete(t.of, id)
		}
	}
	t.sweep = 2 * len(t.of)
}

func (s *session) idle() bool {
	for i := range s.slots {
		if s.slots[i].conn != nil {
			return false
		}
	}
	return true
}
