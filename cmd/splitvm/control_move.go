package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"splitvm/ept/handoff"
	"splitvm/remote"
	"splitvm/remote/blockclient"
)

// serveMoves lets the rack move what the guest has to other monitors.
func (n *vnode) serveMoves(mux *http.ServeMux) {
	mux.HandleFunc("POST /vregion/move", func(w http.ResponseWriter, r *http.Request) {
		s, err := n.moveVRegion(r.Context(), r.FormValue("index"), r.FormValue("epoch"), r.FormValue("to"))
		answer(w, s, err)
	})
	mux.HandleFunc("POST /volume/move", func(w http.ResponseWriter, r *http.Request) {
		s, err := n.moveVolume(r.FormValue("name"), r.FormValue("number"), r.FormValue("from"), r.FormValue("to"), r.FormValue("cancel") != "")
		answer(w, s, err)
	})
}

// moveVRegion begins to move a vRegion, or tells how far that has got.
func (n *vnode) moveVRegion(ctx context.Context, index, epoch, to string) (handoff.MoveStatus, error) {
	if n.far == nil {
		return handoff.MoveStatus{}, errors.New("this vNode's memory is local: it has no vRegions")
	}
	i, err := strconv.ParseUint(index, 10, 32)
	if err != nil {
		return handoff.MoveStatus{}, fmt.Errorf("index of the vRegion: %w", err)
	}
	e, err := strconv.ParseUint(epoch, 10, 64)
	if err != nil {
		return handoff.MoveStatus{}, fmt.Errorf("epoch of the vRegion: %w", err)
	}
	return n.far.keeper.KeepMoving(ctx, handoff.Move{Index: uint32(i), Epoch: remote.Epoch(e), To: to})
}

// moveVolume begins to move a replica of a volume that the guest writes, or to cancel
// that, or tells how it stands.
func (n *vnode) moveVolume(name, number, from, to string, cancel bool) (handoff.MoveStatus, error) {
	d := n.written[name]
	if d == nil {
		return handoff.MoveStatus{}, fmt.Errorf("this vNode does not write volume %q", name)
	}
	i, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return handoff.MoveStatus{}, fmt.Errorf("move volume %q: number %q: %w", name, number, err)
	}
	move := d.Move
	if cancel {
		move = d.Withdraw
	}
	switch outcome, err := move(blockclient.Move{Number: i, From: from, To: to}); {
	case outcome == blockclient.MoveFailed:
		return handoff.MoveStatus{State: handoff.MoveFailed, Reason: err.Error()}, nil
	case err != nil:
		return handoff.MoveStatus{}, err
	case outcome == blockclient.MoveDone:
		return handoff.MoveStatus{State: handoff.MoveDone}, nil
	}
	return handoff.MoveStatus{State: handoff.MoveUnderWay}, nil
}
