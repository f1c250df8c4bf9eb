package handoff

import (
	"slices"
	"testing"
)

// TestMovedOwner: a vRegion's new owner is known to the next pager, monitors that
// own nothing any more are not, and what can't be is refused.
func TestMovedOwner(t *testing.T) {
	a := goodAttach()
	a.Regions = a.Regions[:1] // vRegion 1 at b
	a.Regions = append(a.Regions, Region{Index: 2, ID: 3, Epoch: 1, Owners: []uint16{0}})
	g := &Guest{attach: *a}
	for _, bad := range []Move{{Index: 7, Epoch: 2, To: "c:1"}, {Index: 1, Epoch: 1, To: "c:1"}, {Index: 1, Epoch: 2}} {
		if err := g.moved(&bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	m := Move{Index: 1, Epoch: 5, To: "c:1"}
	if g.hasMoved(m) {
		t.Error("moved before it is")
	}
	if err := g.moved(&m); err != nil || !g.hasMoved(m) {
		t.Errorf("not moved: %v", err)
	}
	monitors, regions := g.Placed()
	if slices.Contains(monitors, "b:1") || len(monitors) != 2 {
		t.Errorf("monitors %v, want c:1 and a:1", monitors)
	}
	if r := regions[0]; monitors[r.Owners[0]] != "c:1" || r.Epoch != 5 {
		t.Errorf("vRegion 1: %+v of %v", r, monitors)
	}
	if r := regions[1]; monitors[r.Owners[0]] != "a:1" || r.Epoch != 1 {
		t.Errorf("vRegion 2: %+v of %v", r, monitors)
	}
	if err := g.attachment().check(); err != nil {
		t.Errorf("the next pager refuses it: %v", err)
	}
}

// A move that was said to have failed is not begun by a request of it that comes
// late; the next one, of a newer epoch, is another matter.
func TestFailedMoveStays(t *testing.T) {
	a := goodAttach()
	a.Regions = a.Regions[:1]
	k := &Keeper{guest: &Guest{attach: *a}}
	for _, m := range []Move{{Index: 1, Epoch: 5}, {Index: 1, Epoch: 5, To: "c:1"}, {Index: 1, Epoch: 4, To: "c:1"}, {Index: 9, Epoch: 5, To: "c:1"}} {
		if s, err := k.KeepMoving(t.Context(), m); err != nil || s.State != MoveFailed || s.Reason == "" {
			t.Errorf("%+v: %+v, %v, want that it has failed", m, s, err)
		}
	}
	if k.background.done != nil {
		t.Error("a move was begun")
	}
	done := Move{Index: 1, Epoch: 6, To: "c:1"}
	if err := k.guest.moved(&done); err != nil {
		t.Fatal(err)
	}
	if s, err := k.KeepMoving(t.Context(), Move{Index: 1, Epoch: 6}); err != nil || s.State != MoveDone {
		t.Errorf("a move that is done, without an address: %+v, %v", s, err)
	}
}
