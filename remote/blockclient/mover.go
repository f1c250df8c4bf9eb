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

	mu   sync.Mutex
	move Move          // guarded by mu
	done chan struct{} // closed when it is over; nil: there is none; guarded by mu
	err  error         // written before done is closed

	interrupt   context.CancelFunc // of the move; guarded by mu, as is the next
	withdrawing bool               // it is one by Withdraw

	failed uint64 // the highest number of a move that was said to have failed; guarded by mu
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
		m.begin(what, m.v.Replace)
	case m.move != what:
		return MoveUnderWay, errOther
	}
	return m.outcome()
}

// Withdraw ends a move, whether it was begun or not, and tells how it stands as Move
// does: that it has failed, or that it was too far to be ended and is done.
func (m *Mover) Withdraw(what Move) (Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case what.Number <= m.failed:
		return MoveFailed, errOver
	case m.done == nil:
		m.begin(what, m.v.Withdraw)
		m.withdrawing = true
	case m.move != what:
		return MoveUnderWay, errOther
	case !m.withdrawing:
		m.interrupt() // what it has come to, the next call sees
	}
	return m.outcome()
}

// outcome is how the move stands. Preconditions: mu is held.
func (m *Mover) outcome() (Outcome, error) {
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
		m.failed = m.move.Number
		return MoveFailed, m.err
	}
	return MoveUnderWay, m.err // the target may be a member: only another try can tell
}

// begin starts a move. Preconditions: mu is held, none is under way.
func (m *Mover) begin(what Move, do func(ctx context.Context, from, to string) error) {
	done := make(chan struct{})
	ctx, interrupt := context.WithCancel(m.life)
	m.move, m.done, m.err, m.interrupt, m.withdrawing = what, done, nil, interrupt, false
	m.wg.Go(func() {
		defer close(done)
		defer interrupt()
		m.err = do(ctx, what.From, what.To)
	})
}

// Close ends what is under way and waits for it. It comes before the volume's.
func (m *Mover) Close() {
	m.stop()
	m.wg.Wait()
}
