package place

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
)

// Item is something that is placed at a member. Of its needs the first resource
// counts.
type Item struct {
	ID    uint64
	At    ID
	Need  uint64
	To    ID   // it is on its way there, for which there is a promise; 0: it is not
	Apart []ID // members that have its other replicas
}

// Step is an item that is to move.
type Step struct {
	Item Item
	To   ID
	Why  string
}

// Balance is what is promised at a member that takes work, before and after all
// moves, those that are under way included.
type Balance struct {
	ID                   ID
	Limit, Before, After uint64
}

// Rebalance plans how to even out the part of each member's capacity that is
// promised, to within a part of the mean, with few moves. It changes nothing.
//
// No step makes anything worse: it takes from a member what leaves that at least as
// loaded as the one that gets it, so the highest load never rises and the lowest
// never falls. Nobody both gives and gets, and so nothing moves twice. Members that
// are closed take no part, limits hold while both ends of a move are promised, and
// replicas that are in distinct failure domains stay so.
func (p *Pool) Rebalance(items []Item, within float64) ([]Step, []Balance) {
	b := newBalancing(p, items, within)
	var steps []Step
	for b.givers.Len() > 0 {
		from := b.givers[0]
		s, ok := b.relieve(from)
		if !ok {
			heap.Pop(&b.givers)
			continue
		}
		steps = append(steps, s)
		heap.Fix(&b.givers, 0)
	}
	list := make([]Balance, 0, len(b.all))
	for _, s := range b.all {
		list = append(list, Balance{ID: s.ID, Limit: s.limit[0], Before: s.before, After: s.has})
	}
	slices.SortFunc(list, func(a, b Balance) int { return cmp.Compare(a.ID, b.ID) })
	return steps, list
}

// shelf is a member in a plan.
type shelf struct {
	*member
	has, before uint64 // when all moves are over
	room        uint64 // while they are not
	items       []Item // that may leave, largest first
	gave, got   bool
}

func (s *shelf) share() float64 { return float64(s.has) / float64(s.limit[0]) }

// balancing is a plan in the making.
type balancing struct {
	pool      *Pool
	low, high float64 // loads between which a member is left alone
	all       []*shelf
	givers    givers   // the fullest on top
	takers    []*shelf // emptiest first, without those that gave
}

func newBalancing(p *Pool, items []Item, within float64) *balancing {
	b := &balancing{pool: p}
	shelves := map[ID]*shelf{}
	for _, id := range slices.Sorted(maps.Keys(p.members)) {
		if m := p.members[id]; !m.Closed && m.limit[0] > 0 {
			s := &shelf{member: m, has: m.promised[0], room: m.limit[0] - min(m.limit[0], m.promised[0])}
			shelves[m.ID] = s
			b.all = append(b.all, s)
		}
	}
	for _, i := range items {
		s := shelves[i.At]
		switch {
		case s == nil:
		case i.To != 0:
			s.has -= min(s.has, i.Need)
		case i.Need > 0:
			s.items = append(s.items, i)
		}
	}
	var has, limit float64
	for _, s := range b.all {
		s.before = s.has
		slices.SortFunc(s.items, func(x, y Item) int {
			return cmp.Or(cmp.Compare(y.Need, x.Need), cmp.Compare(x.ID, y.ID))
		})
		has, limit = has+float64(s.has), limit+float64(s.limit[0])
	}
	b.low, b.high = has/limit*(1-within), has/limit*(1+within)
	slices.SortFunc(b.all, emptier)
	b.takers, b.givers = slices.Clone(b.all), slices.Clone(b.all)
	heap.Init(&b.givers)
	return b
}

// emptier compares loads exactly.
func emptier(a, b *shelf) int {
	h1, l1 := bits.Mul64(a.has, b.limit[0])
	h2, l2 := bits.Mul64(b.has, a.limit[0])
	return cmp.Or(cmp.Compare(h1, h2), cmp.Compare(l1, l2), cmp.Compare(a.ID, b.ID))
}

// relieve moves one item away from a member, to the emptiest that can have one.
func (b *balancing) relieve(from *shelf) (Step, bool) {
	if from.got {
		return Step{}, false
	}
	for at, to := range b.takers {
		if to.share() >= from.share() || from.share() <= b.high && to.share() >= b.low {
			break
		}
		if i, ok := b.pick(from, to); ok {
			return b.move(from, at, i), true
		}
	}
	return Step{}, false
}

// pick finds the largest item whose move leaves from at least as loaded as to.
func (b *balancing) pick(from, to *shelf) (int, bool) {
	limit := min(most(from, to), to.room)
	first, _ := slices.BinarySearchFunc(from.items, limit, func(i Item, n uint64) int { return cmp.Compare(n, i.Need) })
	for i := first; i < len(from.items); i++ {
		if b.apart(from.items[i], to) {
			return i, true
		}
	}
	return 0, false
}

// most is the largest n for which from without n is at least as loaded as to with it:
// of from.has*to.limit - to.has*from.limit, shared among both limits.
// Preconditions: from is the more loaded one.
func most(from, to *shelf) uint64 {
	h, l := bits.Mul64(from.has, to.limit[0])
	lessH, lessL := bits.Mul64(to.has, from.limit[0])
	l, borrow := bits.Sub64(l, lessL, 0)
	h, _ = bits.Sub64(h, lessH, borrow)
	n, _ := bits.Div64(h, l, from.limit[0]+to.limit[0])
	return n
}

// apart tells whether an item's replicas are as far apart as before once it is at to.
func (b *balancing) apart(i Item, to *shelf) bool {
	shared := false // already
	for _, id := range i.Apart {
		o := b.pool.members[id]
		shared = shared || o != nil && o.domain == b.pool.members[i.At].domain
	}
	for _, id := range i.Apart {
		o := b.pool.members[id]
		if id == to.ID || !shared && o != nil && o.domain == to.domain {
			return false
		}
	}
	return true
}

// move gives the taker at an index an item.
func (b *balancing) move(from *shelf, at, i int) Step {
	item, to := from.items[i], b.takers[at]
	s := Step{Item: item, To: to.ID, Why: fmt.Sprintf("rebalance: %s was %s promised, %s %s", from.label(), percent(from.share()), to.label(), percent(to.share()))}
	from.items = slices.Delete(from.items, i, i+1)
	from.has -= min(from.has, item.Need)
	to.has, to.room, to.got = to.has+item.Need, to.room-item.Need, true
	for ; at+1 < len(b.takers) && emptier(b.takers[at+1], to) < 0; at++ {
		b.takers[at], b.takers[at+1] = b.takers[at+1], to
	}
	if !from.gave {
		from.gave = true
		b.takers = slices.DeleteFunc(b.takers, func(s *shelf) bool { return s == from })
	}
	return s
}

func percent(load float64) string { return fmt.Sprintf("%d %%", int(math.Round(100*load))) }

// givers is a heap of members, the fullest on top.
type givers []*shelf

// Len implements heap.Interface.
func (g givers) Len() int { return len(g) }

// Less implements heap.Interface.
func (g givers) Less(i, j int) bool { return emptier(g[i], g[j]) > 0 }

// Swap implements heap.Interface.
func (g givers) Swap(i, j int) { g[i], g[j] = g[j], g[i] }

// Push implements heap.Interface.
func (g *givers) Push(x any) { *g = append(*g, x.(*shelf)) }

// Pop implements heap.Interface.
func (g *givers) Pop() any {
	last := (*g)[len(*g)-1]
	*g = (*g)[:len(*g)-1]
	return last
}
