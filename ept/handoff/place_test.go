package handoff

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"splitvm/ept"
)

// late is a guest of which vRegion 1 has no owners yet.
func late(p Placer) *Guest {
	a := goodAttach()
	a.Regions[0] = Region{Index: 1}
	a.Monitors = a.Monitors[:2]
	g := &Guest{attach: *a}
	g.PlaceBy(p)
	return g
}

// What was placed is known to the next pager, is not asked for again, and can move.
func TestPlaced(t *testing.T) {
	asked := 0
	g := late(func(_ context.Context, index uint32) (Placed, error) {
		asked++
		if asked == 1 {
			return Placed{}, errors.New("nobody leads")
		}
		return Placed{ID: 9, Epoch: 3, Owners: []string{"c:1", "b:1"}}, nil
	})
	if p := g.place(t.Context(), 1); p.Refused != "nobody leads" || p.Index != 1 {
		t.Errorf("%+v, want why it is refused", p)
	}
	if err := g.attachment().check(); err != nil || g.moved(&Move{Index: 1, Epoch: 5, To: "c:1"}) == nil {
		t.Errorf("without owners: %v, or it can move", err)
	}
	want := Placed{Index: 1, ID: 9, Epoch: 3, Owners: []string{"c:1", "b:1"}}
	for range 2 {
		if p := g.place(t.Context(), 1); !reflect.DeepEqual(p, want) {
			t.Errorf("%+v, want %+v", p, want)
		}
	}
	a := g.attachment()
	if err := a.check(); err != nil || !reflect.DeepEqual(a.Monitors, []string{"a:1", "b:1", "c:1"}) || asked != 2 {
		t.Errorf("the next pager: %v, monitors %v; asked %d times", err, a.Monitors, asked)
	}
	if err := g.moved(&Move{Index: 1, Epoch: 5, To: "d:1"}); err != nil {
		t.Error(err)
	}
	if p := g.place(t.Context(), 1); p.Epoch != 5 || !reflect.DeepEqual(p.Owners, []string{"d:1"}) {
		t.Errorf("after a move: %+v", p)
	}
	if p := g.place(t.Context(), 7); p.Refused == "" {
		t.Errorf("a vRegion that is not there: %+v", p)
	}
}

// Of two answers the first holds: a pager may have written there.
func TestPlacedTwice(t *testing.T) {
	var g *Guest
	g = late(func(_ context.Context, index uint32) (Placed, error) {
		if _, err := g.placed(Placed{Index: 1, ID: 9, Epoch: 1, Owners: []string{"c:1"}}); err != nil {
			t.Error(err)
		}
		return Placed{ID: 9, Epoch: 1, Owners: []string{"d:1"}}, nil
	})
	if p := g.place(t.Context(), 1); !reflect.DeepEqual(p.Owners, []string{"c:1"}) {
		t.Errorf("%+v, want the first", p)
	}
}

func TestPlacedIsChecked(t *testing.T) {
	for _, bad := range []Placed{{}, {ID: 1, Epoch: 1}, {ID: 1, Owners: []string{"a"}}, {Epoch: 1, Owners: []string{"a"}},
		{ID: 1, Epoch: 1, Owners: []string{""}}, {ID: 1, Epoch: 1, Owners: make([]string, maxOwners+1)}} {
		if p := late(func(context.Context, uint32) (Placed, error) { return bad, nil }).place(t.Context(), 1); p.Refused == "" {
			t.Errorf("accepted %+v", bad)
		}
	}
}

// A write-back that comes while the VMM is asked does not ask again, and one that comes
// after a refusal does.
func TestAsking(t *testing.T) {
	asked := make(chan uint32, 10)
	p := newPlacement(&Attach{Layout: ept.Layout{RegionLines: 8}, Regions: []Region{{Index: 4}}}, nil, func(i uint32) { asked <- i })
	for range 2 {
		if _, err := p.Place(t.Context(), 4); !errors.Is(err, errPlacing) {
			t.Errorf("%v, want that it is asked for", err)
		}
	}
	refused := errors.New("no room")
	p.placed(4, ept.Region{}, refused)
	if len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
	go func() {
		<-asked
		<-asked
		p.placed(4, ept.Region{}, refused)
	}()
	if _, err := p.Place(t.Context(), 4); !errors.Is(err, refused) {
		t.Errorf("%v, want why there is none", err)
	}
	if _, err := p.Place(t.Context(), 4); !errors.Is(err, errPlacing) || !errors.Is(err, refused) {
		t.Errorf("%v, want that it is asked for, and what was said before", err)
	}
	if r, err := p.Region(4); err != nil || len(r.Owners) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
