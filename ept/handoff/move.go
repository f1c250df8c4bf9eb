package handoff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"splitvm/ept"
	"splitvm/remote"
)

// sweepTime bounds the removal of a copy that is not needed any more. Who can't be reached
// is told by the rack later.
const sweepTime = 2 * time.Second

// moveRegion does what a Move asks for.
func (v *vnode) moveRegion(m *Move) error {
	if !v.move.TryLock() {
		return errors.New("another vRegion of this vNode is moving: one at a time")
	}
	defer v.move.Unlock()
	from, err := v.place.Region(int(m.Index))
	switch {
	case err != nil:
		return err
	case len(from.Owners) == 0:
		return fmt.Errorf("vRegion %d has no owner yet", m.Index)
	case len(from.Owners) != 1:
		return fmt.Errorf("%v has %d owners; only a vRegion with one can move", from.At, len(from.Owners))
	case from.At.Epoch == m.Epoch:
		return nil
	case from.At.Epoch > m.Epoch:
		return fmt.Errorf("%v: can't move to the older epoch %d", from.At, m.Epoch)
	}
	to, err := v.target(m.To)
	if err != nil {
		return err
	}
	if to == from.Owners[0] {
		return fmt.Errorf("%v is at %s already", from.At, m.To)
	}
	err = v.moveTo(m, from, to)
	v.dial.Lock()
	defer v.dial.Unlock()
	for _, i := range []int{to, from.Owners[0]} {
		if v.place.owns(i) {
			continue
		}
		if err := v.peers.hangUp(i); err != nil {
			slog.Debug("hang up", "monitor", v.peers.of(i).String(), "err", err)
		}
	}
	return err
}

// placed takes the VMM's answer about a vRegion that has no owners yet.
func (v *vnode) placed(p *Placed) {
	v.dial.Lock()
	defer v.dial.Unlock()
	r := ept.Region{At: remote.Owned{VRegion: p.ID, Epoch: p.Epoch}}
	err := p.check()
	for _, addr := range p.Owners {
		if err != nil {
			break
		}
		var i int
		i, err = v.connect(addr)
		r.Owners = append(r.Owners, i)
	}
	v.place.placed(int(p.Index), r, err)
}

// target returns the index of the monitor at an address.
func (v *vnode) target(addr string) (int, error) {
	v.dial.Lock()
	defer v.dial.Unlock()
	return v.connect(addr)
}

// connect is target. The caller holds v.dial.
func (v *vnode) connect(addr string) (int, error) {
	if i, ok := v.peers.at(addr); ok {
		return i, nil
	}
	i, err := v.peers.dial(v.ctx, addr)
	if err != nil {
		return 0, err
	}
	if j := v.pager.AddMonitor(v.peers.of(i)); i != j {
		panic(fmt.Sprintf("handoff: monitor %s is number %d here and %d in the pager", addr, i, j))
	}
	return i, nil
}

// moveTo makes an empty copy and has it filled.
func (v *vnode) moveTo(m *Move, from ept.Region, to int) error {
	target := v.peers.of(to)
	at := remote.Owned{VRegion: from.At.VRegion, Epoch: m.Epoch}
	// What an earlier try left there may be newer than what it is to become.
	if err := target.Delete(v.ctx, at); err != nil && remote.KindOf(err) != remote.NoVRegion {
		return fmt.Errorf("make a copy of %v: %w", from.At, err)
	}
	if err := target.Create(v.ctx, at, v.place.lines); err != nil {
		return fmt.Errorf("make a copy of %v: %w", from.At, err)
	}
	owner := ept.Region{At: at, Owners: []int{to}}
	err := v.pager.Move(v.ctx, ept.Move{Region: int(m.Index), To: to, At: at, Commit: func(ctx context.Context) error {
		if err := v.tellMoved(ctx, m); err != nil {
			return err
		}
		v.place.moved(int(m.Index), owner)
		return nil
	}})
	switch {
	case err == nil:
		v.sweep(v.peers.of(from.Owners[0]), from.At)
	case v.pager.Failure() == nil:
		v.sweep(target, at)
	}
	return err
}

// sweep removes a copy that is not needed any more.
func (v *vnode) sweep(at Peer, what remote.Owned) {
	ctx, cancel := context.WithTimeout(v.ctx, sweepTime)
	defer cancel()
	if err := at.Delete(ctx, what); err != nil {
		slog.Debug("remove a copy that is not needed", "vRegion", what.String(), "monitor", at.String(), "err", err)
	}
}

// tellMoved has the VMM note the new owner. An error says that it may have or not.
func (v *vnode) tellMoved(ctx context.Context, m *Move) error {
	v.mu.Lock()
	err := send(v.conn, &Message{Moved: m}, nil)
	v.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case answer := <-v.noted:
		if answer.Done.Refused != "" {
			return errors.New(answer.Done.Refused)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
