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

	mu     sync.Mutex
	move   Move          // guarded by mu
	done   chan struct{} // closed when it is over; nil: there is none; guarded by mu
	err    error         // written before done is closed
	failed uint64        // the highest number of a move that was said to have failed; guarded by mu
}

// Move is a replica that is to go from one address to another. Each has a higher
// number than those before.
type Move struct {
	Number   uint64
	From, To string
}

// NewMover returns a mover for a volume that was opened.
func NewMover(v *Volume) *Mover {
	m := &Mover{v: v}
	m.life, m.stop = context.WithCancel(context.Background())
	return m
}

// Outcome is how a move stands.
type Outcome uint8

// The outcomes. After MoveFailed the target is no replica, and will not become one by
// this move: a request of it that comes late begins nothing.
const (
	MoveUnderWay Outcome = iota
	MoveDone
	MoveFailed
)

var (
	errOther = errors.New("another replica of this volume is moving")
	errOver  = errors.New("this move has failed before")
)

// Move begins to move a replica, unless that goes on already, and tells how it stands.
// With an error and not MoveFailed nothing is known; the same call tries again.
func (m *Mover) Move(what Move) (Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case what.Number <= m.failed:
		return MoveFailed, errOver
	case m.done == nil:
		m.begin(what)
	case m.move != what:
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
		m.failed = what.Number
		return MoveFailed, m.err
	}
	return MoveUnderWay, m.err // the target may be a member: only another try can tell
}

// begin starts a move. Preconditions: mu is held, none is under way.
func (m *Mover) begin(what Move) {
	done := make(chan struct{})
	m.move, m.done, m.err = what, done, nil
	m.wg.Go(func() {
		defer close(done)
		m.err = m.v.Replace(m.life, what.From, what.To)
	})
}

// Close ends what is under way and waits for it. It comes before the volume's.
func (m *Mover) Close() {
	m.stop()
	m.wg.Wait()
}
