package blockclient

import (
	"context"
	"errors"
	"sync"
)

// Mover replaces replicas of a volume in the background, one at a time.
type Mover struct {
	v    *Volume
	life context.Context // until Close
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex
	from, to string        // guarded by mu
	done     chan struct{} // closed when it is over; nil: there was none; guarded by mu
	err      error         // written before done is closed
}

// NewMover returns a mover for a volume that was opened.
func NewMover(v *Volume) *Mover {
	m := &Mover{v: v}
	m.life, m.stop = context.WithCancel(context.Background())
	return m
}

// Outcome is how a move stands.
type Outcome uint8

// The outcomes. After MoveFailed the target is no replica, and will not become one
// unless Move is called again.
const (
	MoveUnderWay Outcome = iota
	MoveDone
	MoveFailed
)

var errOther = errors.New("another replica of this volume is moving")

// Move begins to move a replica, unless that goes on already, and tells how it stands.
// A failure is told once; the same call after it tries again. With an error nothing
// is known.
func (m *Mover) Move(from, to string) (Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.done == nil:
		m.begin(from, to)
	case m.from != from || m.to != to:
		return MoveUnderWay, errOther
	}
	select {
	case <-m.done:
	default:
		return MoveUnderWay, nil
	}
	m.done = nil
	switch {
	case m.err == nil:
		return MoveDone, nil
	case errors.Is(m.err, ErrNotJoined):
		return MoveFailed, m.err
	}
	return MoveUnderWay, m.err // the target may be a member: only another try can tell
}

// begin starts a move. Preconditions: mu is held, none is under way.
func (m *Mover) begin(from, to string) {
	done := make(chan struct{})
	m.from, m.to, m.done, m.err = from, to, done, nil
	m.wg.Go(func() {
		defer close(done)
		m.err = m.v.Replace(m.life, from, to)
	})
}

// Close ends what is under way and waits for it. It comes before the volume's.
func (m *Mover) Close() {
	m.stop()
	m.wg.Wait()
}
