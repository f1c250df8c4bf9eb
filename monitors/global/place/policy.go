package place

import "fmt"

// Policy is an order of preference among members.
type Policy struct {
	Name string
	Does string
	// less prefers a to b; total, so that decisions can be repeated.
	less func(a, b *member) bool
	// domains is that the order depends on what is promised in whole domains.
	domains bool
}

// The policies. The first is the default.
var policies = []Policy{
	{Name: "least-load", Does: "the member of whose capacity the smallest part is promised", less: leastLoad},
	{Name: "most-free", Does: "the member that has most left to promise", less: mostFree},
	{Name: "round-robin", Does: "the member that was not chosen for longest", less: roundRobin},
	{Name: "spread", Does: "the failure domain with the least load, in it the member with the least", less: spread, domains: true},
}

// Policies lists them, the default first.
func Policies() []Policy { return policies }

// PolicyByName returns a policy; "" is the default.
func PolicyByName(name string) (Policy, error) {
	for _, p := range policies {
		if p.Name == name || name == "" {
			return p, nil
		}
	}
	return Policy{}, fmt.Errorf("no placement policy %q: there are least-load, most-free, round-robin and spread", name)
}

// load is the fullest resource's part that is promised.
func load(promised, limit Amount) float64 {
	l := 0.0
	for i, n := range limit {
		if n > 0 {
			l = max(l, float64(promised[i])/float64(n))
		}
	}
	return l
}

// weigh works out what the orders compare, after promises changed.
func (m *member) weigh() {
	m.load, m.free = load(m.promised, m.limit), m.limit[0]-min(m.limit[0], m.promised[0])
}

// open puts members that have nothing left behind all others, so that no
// decision has to pass them over.
func open(less func(a, b *member) bool) func(a, b *member) bool {
	return func(a, b *member) bool {
		if x, y := a.load < 1, b.load < 1; x != y {
			return x
		}
		return less(a, b)
	}
}

func leastLoad(a, b *member) bool {
	if x, y := a.load, b.load; x != y {
		return x < y
	}
	return mostFree(a, b)
}

func mostFree(a, b *member) bool {
	if x, y := a.free, b.free; x != y {
		return x > y
	}
	return roundRobin(a, b)
}

func roundRobin(a, b *member) bool {
	if a.turn != b.turn {
		return a.turn < b.turn
	}
	return a.ID < b.ID
}

// spread prefers the members of a domain as leastLoad does; see domain.before.
func spread(a, b *member) bool { return leastLoad(a, b) }

// before prefers the domain with the smaller load, unless all that is open in it is full.
// Both have open members.
func (d *domain) before(e *domain) bool {
	a, b := d.order.list[0], e.order.list[0]
	if x, y := a.load < 1, b.load < 1; x != y {
		return x
	}
	if d.load != e.load {
		return d.load < e.load
	}
	return leastLoad(a, b)
}

// order is a heap of the open members by preference.
type order struct {
	list []*member
	less func(a, b *member) bool
}

// Len implements heap.Interface.
func (o *order) Len() int { return len(o.list) }

// Less implements heap.Interface.
func (o *order) Less(i, j int) bool { return o.less(o.list[i], o.list[j]) }

// Swap implements heap.Interface.
func (o *order) Swap(i, j int) {
	o.list[i], o.list[j] = o.list[j], o.list[i]
	o.list[i].at, o.list[j].at = i, j
}

// Push implements heap.Interface.
func (o *order) Push(x any) {
	m := x.(*member)
	m.at = len(o.list)
	o.list = append(o.list, m)
}

// Pop implements heap.Interface.
func (o *order) Pop() any {
	m := o.list[len(o.list)-1]
	o.list = o.list[:len(o.list)-1]
	m.at = -1
	return m
}

// ranks is a heap of domains by preference.
type ranks []*domain

// Len implements heap.Interface.
func (r ranks) Len() int { return len(r) }

// Less implements heap.Interface.
func (r ranks) Less(i, j int) bool { return r[i].before(r[j]) }

// Swap implements heap.Interface.
func (r ranks) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].at, r[j].at = i, j
}

// Push implements heap.Interface.
func (r *ranks) Push(x any) {
	d := x.(*domain)
	d.at = len(*r)
	*r = append(*r, d)
}

// Pop implements heap.Interface.
func (r *ranks) Pop() any {
	d := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	d.at = -1
	return d
}
