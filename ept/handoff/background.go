package handoff

import (
	"context"
	"errors"
	"slices"
	"sync"

	"splitvm/remote"
)

// MoveState is how far a move in the background has got.
type MoveState string

// The states of a move. The last two are final: a move that has failed changes
// nothing later.
const (
	MoveUnderWay MoveState = "moving"
	MoveDone     MoveState = "moved"
	MoveFailed   MoveState = "failed"
)

// MoveStatus describes a move.
type MoveStatus struct {
	State  MoveState `json:"state"`
	Copied uint64    `json:"copied"` // lines, while it moves
	Left   uint64    `json:"left"`
	Reason string    `json:"reason,omitempty"` // of the failure
}

// background is the last move that KeepMoving was asked for.
type background struct {
	mu   sync.Mutex
	move Move          // guarded by mu
	done chan struct{} // closed when it is over; nil: there was none; guarded by mu
	err  error         // written before done is closed
	wg   sync.WaitGroup
	// failed has the newest epoch of each vRegion to which a move was said to have
	// failed: a request of it that comes late begins nothing. Guarded by mu.
	failed map[uint32]remote.Epoch
}

// KeepMoving begins to move a vRegion, unless that was asked for before, and tells
// how far it has got. Another one has to be over before. A move whose address is
// not known any more is not begun; one that was begun is told of as ever.
func (k *Keeper) KeepMoving(ctx context.Context, m Move) (MoveStatus, error) {
	b := &k.background
	b.mu.Lock()
	defer b.mu.Unlock()
	_, regions := k.guest.Placed()
	known := slices.ContainsFunc(regions, func(r Region) bool { return r.Index == m.Index && len(r.Owners) > 0 })
	same := b.done != nil && b.move.Index == m.Index && b.move.Epoch == m.Epoch
	busy := b.done != nil && !closed(b.done)
	switch {
	case k.guest.hasMoved(m):
		return MoveStatus{State: MoveDone}, nil
	case !same && (!known || m.To == "" || m.Epoch <= b.failed[m.Index]):
		return b.fail(m, "there is no such vRegion, or no monitor for it"), nil
	case !same && busy:
		return MoveStatus{}, errors.New("another vRegion of this vNode is moving")
	case !same:
		b.begin(k, m)
	}
	if closed(b.done) {
		if b.err == nil { // a moment ago
			return MoveStatus{State: MoveDone}, nil
		}
		return b.fail(m, b.err.Error()), nil
	}
	status := MoveStatus{State: MoveUnderWay}
	if s, err := k.Stats(ctx); err == nil && s.Moving != nil && s.Moving.Region == int(m.Index) {
		status.Copied, status.Left = s.Moving.Copied, s.Moving.Left
	}
	return status, nil
}

// fail is the answer about a move that has failed, for good. Preconditions: mu is
// held.
func (b *background) fail(m Move, reason string) MoveStatus {
	if b.failed == nil {
		b.failed = map[uint32]remote.Epoch{}
	}
	b.failed[m.Index] = max(b.failed[m.Index], m.Epoch)
	return MoveStatus{State: MoveFailed, Reason: reason}
}

// begin starts a move. Preconditions: mu is held, no other is under way.
func (b *background) begin(k *Keeper, m Move) {
	done := make(chan struct{})
	b.move, b.done, b.err = m, done, nil
	b.wg.Go(func() {
		defer close(done)
		b.err = k.Move(k.life, m)
	})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
