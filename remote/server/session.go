package server

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"splitvm/remote"
	"splitvm/remote/wire"
)

// sessions fences: of each session only the newest incarnation has connections,
// and of that at most one of each class. When enter returns, no request of an
// older incarnation, on whatever class, nor of an older connection of the same
// class is being executed or will be. So a client that reconnects may send a
// write again, and one that replaces another (a pager that was killed) may
// overwrite what that one wrote: the copy on the old connection, wherever it was
// stuck, cannot take effect after a later write.
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
	// older are the done channels of the connections of older incarnations
	// that had not ended when they were displaced. All connections of this
	// incarnation wait for them, not only the first one, which displaced them.
	older []<-chan struct{}
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
	old, wait, err := t.replace(c)
	for _, o := range old {
		o.conn.Shutdown()
	}
	for _, done := range wait {
		<-done
	}
	return err
}

// replace returns the connections that c displaces, to be shut down, and what
// to wait for before c is served: their ends, and those of the connections that
// an earlier one of c's incarnation displaced.
func (t *sessions) replace(c *conn) (old []*conn, wait []<-chan struct{}, err error) {
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
	switch at := &s.slots[g.Class]; {
	case g.Incarnation < s.incarnation,
		g.Incarnation == s.incarnation && g.Attempt <= at.attempt:
		return nil, nil, fmt.Errorf("session %x incarnation %d attempt %d: %w", g.Session, g.Incarnation, g.Attempt, remote.Fenced)
	case g.Incarnation > s.incarnation:
		old = s.succeed(g.Incarnation)
	case at.conn != nil:
		// What at.conn waits for, c waits for with it: it isn't done before.
		old, wait = []*conn{at.conn}, []<-chan struct{}{at.conn.done}
	}
	s.slots[g.Class] = slot{attempt: g.Attempt, conn: c}
	s.older = slices.DeleteFunc(s.older, over)
	return old, append(wait, s.older...), nil
}

// succeed begins a new incarnation and returns the connections of the last one.
func (s *session) succeed(incarnation uint64) []*conn {
	var old []*conn
	older := s.older
	for i := range s.slots {
		if c := s.slots[i].conn; c != nil {
			old, older = append(old, c), append(older, c.done)
		}
	}
	*s = session{incarnation: incarnation, older: older}
	return old
}

// over tells whether a connection has ended.
func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
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
