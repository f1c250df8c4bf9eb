package place

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// hold promises items at a pool, one after the other, and returns them.
func hold(p *Pool, at map[ID][]uint64) (items []Item) {
	for id := ID(1); len(at) > 0; id++ {
		for _, n := range at[id] {
			items = append(items, Item{ID: uint64(len(items) + 1), At: id, Need: n})
			p.Promise(id, Amount{n})
		}
		delete(at, id)
	}
	return items
}

func alike(n int, need uint64) (list []uint64) {
	for range n {
		list = append(list, need)
	}
	return list
}

// Cases of a plan: how many moves there are and what is promised afterwards.
func TestRebalance(t *testing.T) {
	closed := of(3, 100, "")
	closed.Closed = true
	for _, c := range []struct {
		name    string
		members []Member
		at      map[ID][]uint64
		moves   int
		after   []uint64
	}{
		{"nothing", nil, nil, 0, nil},
		{"even", []Member{of(1, 100, ""), of(2, 100, "")}, map[ID][]uint64{1: {30}, 2: {30}}, 0, []uint64{30, 30}},
		{"within", []Member{of(1, 100, ""), of(2, 100, "")}, map[ID][]uint64{1: alike(42, 1), 2: alike(38, 1)}, 0, []uint64{42, 38}},
		{"one has joined", []Member{of(1, 100, ""), of(2, 100, ""), of(3, 100, "")},
			map[ID][]uint64{1: alike(6, 10), 2: alike(6, 10)}, 4, []uint64{40, 40, 40}},
		{"large ones first", []Member{of(1, 100, ""), of(2, 100, "")}, map[ID][]uint64{1: {40, 5, 5, 20, 10}}, 1, []uint64{40, 40}},
		{"one that is too large stays", []Member{of(1, 100, ""), of(2, 100, "")}, map[ID][]uint64{1: {90}}, 0, []uint64{90, 0}},
		{"by capacity", []Member{of(1, 100, ""), of(2, 300, "")}, map[ID][]uint64{1: alike(8, 10)}, 6, []uint64{20, 60}},
		{"a draining one takes no part", []Member{of(1, 100, ""), of(2, 100, ""), closed},
			map[ID][]uint64{1: alike(4, 10), 3: alike(9, 10)}, 2, []uint64{20, 20}},
		{"one without capacity takes no part", []Member{of(1, 100, ""), of(2, 0, "")}, map[ID][]uint64{1: alike(4, 10)}, 0, []uint64{40}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pool(t, "least-load", c.members...)
			steps, after := p.Rebalance(hold(p, c.at), 0.1)
			var got []uint64
			for _, b := range after {
				got = append(got, b.After)
			}
			if len(steps) != c.moves || fmt.Sprint(got) != fmt.Sprint(c.after) {
				t.Errorf("%d moves to %v, want %d to %v: %v", len(steps), got, c.moves, c.after, steps)
			}
		})
	}
}

// What moves already counts where it is to be, and its promises at both ends hold.
func TestRebalanceUnderWay(t *testing.T) {
	p := pool(t, "least-load", of(1, 100, ""), of(2, 100, ""))
	items := hold(p, map[ID][]uint64{1: alike(8, 10)})
	for i := range 4 {
		items[i].To = 2
		p.Promise(2, Amount{10})
	}
	if steps, after := p.Rebalance(items, 0.1); len(steps) != 0 || after[0].After != 40 || after[1].After != 40 {
		t.Errorf("%v, %v, want no more moves", steps, after)
	}
}

// Replicas stay apart: at distinct members, and in distinct failure domains if they
// were.
func TestRebalanceApart(t *testing.T) {
	p := pool(t, "least-load", of(1, 100, "a"), of(2, 100, "b"), of(3, 100, "b"), of(4, 100, "c"))
	item := Item{ID: 1, At: 1, Need: 10, Apart: []ID{2}}
	other := Item{ID: 2, At: 1, Need: 10, Apart: []ID{2}}
	p.Promise(1, Amount{40})
	steps, _ := p.Rebalance([]Item{item, other}, 0)
	if len(steps) != 2 || steps[0].To != 4 || steps[1].To != 4 {
		t.Errorf("%v, want two moves to member 4: the others are in the domain of the other replica", steps)
	}
}

// Whatever is placed, a plan makes nothing worse, respects limits at every moment,
// moves nothing twice, and has nobody both give and get.
func TestRebalanceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := NewPool(Config{Policy: policies[0]})
		n := rapid.IntRange(1, 6).Draw(t, "members")
		for id := range n {
			m := of(ID(id+1), uint64(rapid.IntRange(1, 4).Draw(t, "capacity")*50), string(rune('a'+id%3)))
			m.Closed = rapid.IntRange(0, 5).Draw(t, "closed") == 0
			p.Set(m)
		}
		var items []Item
		for i := range rapid.IntRange(0, 40).Draw(t, "items") {
			at := ID(rapid.IntRange(1, n).Draw(t, "at"))
			need := uint64(rapid.IntRange(1, 20).Draw(t, "need"))
			if m := p.members[at]; m.promised[0]+need > m.limit[0] {
				continue
			}
			p.Promise(at, Amount{need})
			items = append(items, Item{ID: uint64(i), At: at, Need: need})
			if other := ID(rapid.IntRange(1, n).Draw(t, "other")); other != at && i%3 == 0 {
				items[len(items)-1].Apart = []ID{other}
			}
		}
		within := rapid.Float64Range(0, 0.3).Draw(t, "within")
		steps, after := p.Rebalance(items, within)
		checkSteps(t, p, steps)
		checkAfter(t, p, steps, after)
	})
}

func checkSteps(t *rapid.T, p *Pool, steps []Step) {
	moved, gave, got, room := map[uint64]bool{}, map[ID]bool{}, map[ID]bool{}, map[ID]uint64{}
	for _, m := range p.members {
		room[m.ID] = m.limit[0] - m.promised[0]
	}
	for _, s := range steps {
		from, to := p.members[s.Item.At], p.members[s.To]
		switch {
		case from.Closed || to.Closed:
			t.Fatalf("%v: a closed member", s)
		case moved[s.Item.ID] || got[from.ID] || gave[to.ID] || from == to:
			t.Fatalf("%v: moved twice, or a member gives and gets", s)
		case s.Item.Need > room[s.To]:
			t.Fatalf("%v: no room", s)
		}
		for _, o := range s.Item.Apart {
			if o == s.To || p.members[o].domain == to.domain && p.members[o].domain != from.domain {
				t.Fatalf("%v: nearer to its other replica", s)
			}
		}
		moved[s.Item.ID], gave[from.ID], got[to.ID] = true, true, true
		room[s.To] -= s.Item.Need
	}
}

// checkAfter checks that the loads after each step are within those before, and that
// the plan tells the truth about the last.
func checkAfter(t *rapid.T, p *Pool, steps []Step, after []Balance) {
	has := map[ID]uint64{}
	for _, b := range after {
		has[b.ID] = b.Before
	}
	for _, s := range steps {
		lo, hi := extremes(p, has)
		has[s.Item.At] -= s.Item.Need
		has[s.To] += s.Item.Need
		if l, h := extremes(p, has); l < lo-1e-9 || h > hi+1e-9 {
			t.Fatalf("%v: loads from %v..%v to %v..%v", s, lo, hi, l, h)
		}
	}
	for _, b := range after {
		if has[b.ID] != b.After {
			t.Fatalf("member %d has %d in the end, the plan says %d", b.ID, has[b.ID], b.After)
		}
	}
}

func extremes(p *Pool, has map[ID]uint64) (lo, hi float64) {
	lo = 2
	for id, n := range has {
		share := float64(n) / float64(p.members[id].limit[0])
		lo, hi = min(lo, share), max(hi, share)
	}
	return lo, hi
}

// With items and members that are alike, a plan ends where no move could improve on
// it, or everybody is within what is allowed.
func TestRebalanceAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := NewPool(Config{Policy: policies[0]})
		at := map[ID][]uint64{}
		total := 0
		n := rapid.IntRange(1, 8).Draw(t, "members")
		for id := range n {
			p.Set(of(ID(id+1), 1000, ""))
			items := rapid.IntRange(0, 99).Draw(t, "items")
			at[ID(id+1)] = alike(items, 10)
			total += items * 10
		}
		within := rapid.Float64Range(0, 0.3).Draw(t, "within")
		_, after := p.Rebalance(hold(p, at), within)
		least, most := uint64(1000), uint64(0)
		for _, b := range after {
			least, most = min(least, b.After), max(most, b.After)
		}
		mean := float64(total) / float64(n)
		if most-least > 10 && (float64(least) < mean*(1-within)-1e-6 || float64(most) > mean*(1+within)+1e-6) {
			t.Fatalf("%v: from %d to %d, the mean is %.1f", after, least, most, mean)
		}
	})
}
