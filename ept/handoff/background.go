package handoff

import (
	"context"
	"errors"
	"slices"
	"sync"
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
}

// KeepMoving begins to move a vRegion, unless that was asked for before, and tells
// how far it has got. Another one has to be over before.
func (k *Keeper) KeepMoving(ctx context.Context, m Move) (MoveStatus, error) {
	b := &k.background
	b.mu.Lock()
	defer b.mu.Unlock()
	_, regions := k.guest.Placed()
	switch known := slices.ContainsFunc(regions, func(r Region) bool { return r.Index == m.Index }); {
	case !known || m.To == "" || m.Epoch == 0:
		return MoveStatus{State: MoveFailed, Reason: "there is no such vRegion, or no monitor for it"}, nil
	case k.guest.hasMoved(m):
		return MoveStatus{State: MoveDone}, nil
	case b.done != nil && b.move != m && !closed(b.done):
		return MoveStatus{}, errors.New("another vRegion of this vNode is moving")
	case b.done == nil || b.move != m:
		b.begin(k, m)
	}
	if closed(b.done) {
		if b.err == nil { // a moment ago
			return MoveStatus{State: MoveDone}, nil
		}
		return MoveStatus{State: MoveFailed, Reason: b.err.Error()}, nil
	}
	status := MoveStatus{State: MoveUnderWay}
	if s, err := k.Stats(ctx); err == nil && s.Moving != nil && s.Moving.Region == int(m.Index) {
		status.Copied, status.Left = s.Moving.Copied, s.Moving.Left
	}
	return status, nil
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
