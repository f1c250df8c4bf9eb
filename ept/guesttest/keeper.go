package guesttest

import (
	"context"
	"sync/atomic"

	"splitvm/ept/handoff"
)

// keeper keeps a pager for the guest.
type keeper struct {
	session atomic.Pointer[handoff.Session]
	pagers  atomic.Int32
	failed  chan error
	stop    func() error
}

func (k *keeper) current() *handoff.Session { return k.session.Load() }

// keep attaches the guest to the pager on descriptor 3.
func (g *guest) keep(ctx context.Context, h *handoff.Guest) (*keeper, error) {
	k := &keeper{failed: make(chan error, 1)}
	conn, err := connect()
	if err != nil {
		return nil, err
	}
	s, err := h.Attach(ctx, conn)
	if err != nil {
		return nil, err
	}
	k.session.Store(s)
	k.pagers.Add(1)
	k.stop = s.Close
	go func() {
		<-s.Done()
		k.failed <- s.Err()
	}()
	return k, nil
}
