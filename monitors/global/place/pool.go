package place

import (
	"container/heap"
	"fmt"
)

// Config is how a Pool decides.
type Config struct {
	Policy Policy
	// Overcommit is how often each resource may be promised; 0 means once.
	Overcommit Factor
}

// Pool is the members of one role and what is promised there.
type Pool struct {
	cfg     Config
	members map[ID]*member
	domains map[string]*domain
	order   order  // the open members, unless the policy looks at domains: then those have them
	ranks   ranks  // the domains that have open members, if it does
	open    int    // open members
	turn    uint64 // decisions so far
}

type member struct {
	Member
	limit    Amount
	promised Amount
	load     float64 // of limit that is promised; see weigh
	free     uint64  // of the first resource
	turn     uint64  // when it was chosen last
	domain   *domain
	at       int // in its order; -1: not in it
}

// domain adds up its members.
type domain struct {
	members         []*member
	limit, promised Amount
	load            float64 // of limit that is promised
	order           order   // the open members, if the policy looks at domains
	at              int     // in the ranks; -1: not in them
}

// NewPool returns an empty pool.
func NewPool(cfg Config) *Pool {
	for i, f := range cfg.Overcommit {
		if f == 0 {
			cfg.Overcommit[i] = 1
		}
	}
	return &Pool{cfg: cfg, members: map[ID]*member{}, domains: map[string]*domain{}, order: order{less: open(cfg.Policy.less)}}
}

// Set adds a member, or changes what is known of it; what is promised there stays.
func (p *Pool) Set(m Member) {
	old := p.members[m.ID]
	x := &member{Member: m, at: -1}
	for i, c := range m.Capacity {
		x.limit[i] = uint64(float64(c) * p.cfg.Overcommit[i])
	}
	if old != nil {
		x.promised, x.turn = old.promised, old.turn
		p.drop(old)
	}
	x.weigh()
	p.members[m.ID] = x
	p.join(x)
	if !m.Closed {
		p.open++
		p.enter(x)
	}
	p.rank(x.domain)
}

// Remove forgets a member and what was promised there.
func (p *Pool) Remove(id ID) {
	if m := p.members[id]; m != nil {
		p.drop(m)
	}
}

func (p *Pool) join(m *member) {
	name := m.Domain
	if name == "" {
		name = fmt.Sprintf("\x00%d", m.ID) // of its own
	}
	d := p.domains[name]
	if d == nil {
		d = &domain{at: -1, order: order{less: open(leastLoad)}}
		p.domains[name] = d
	}
	m.domain = d
	d.members = append(d.members, m)
	d.limit, d.promised = add(d.limit, m.limit), add(d.promised, m.promised)
	d.load = load(d.promised, d.limit)
}

func (p *Pool) drop(m *member) {
	if !m.Closed {
		p.open--
		heap.Remove(p.orderOf(m), m.at)
	}
	delete(p.members, m.ID)
	d := m.domain
	for i, x := range d.members {
		if x == m {
			d.members = append(d.members[:i], d.members[i+1:]...)
			break
		}
	}
	d.limit, d.promised = sub(d.limit, m.limit), sub(d.promised, m.promised)
	d.load = load(d.promised, d.limit)
	p.rank(d)
	if len(d.members) == 0 {
		for name, x := range p.domains {
			if x == d {
				delete(p.domains, name)
			}
		}
	}
}

// Promise records work at a member that was decided earlier; false if the
// member is not known.
func (p *Pool) Promise(id ID, a Amount) bool {
	m := p.members[id]
	if m != nil {
		m.promise(a, add)
		p.moved(m)
	}
	return m != nil
}

// Release takes a promise back; a member that is gone took it along.
func (p *Pool) Release(id ID, a Amount) {
	if m := p.members[id]; m != nil {
		m.promise(a, sub)
		p.moved(m)
	}
}

// Promised returns what is promised at a member.
func (p *Pool) Promised(id ID) Amount {
	if m := p.members[id]; m != nil {
		return m.promised
	}
	return Amount{}
}

// Free returns what may still be promised at members that take new work.
func (p *Pool) Free() (free Amount) {
	for _, m := range p.members {
		if !m.Closed {
			free = add(free, sub(m.limit, m.promised))
		}
	}
	return free
}

// promise changes what is promised at a member, and so in its domain.
func (m *member) promise(a Amount, by func(a, b Amount) Amount) {
	d := m.domain
	m.promised, d.promised = by(m.promised, a), by(d.promised, a)
	d.load = load(d.promised, d.limit)
	m.weigh()
}

// moved puts a member whose promises changed into its place, and its domain.
func (p *Pool) moved(m *member) {
	if m.at >= 0 {
		heap.Fix(p.orderOf(m), m.at)
	}
	p.rank(m.domain)
}

// enter puts an open member into its order.
func (p *Pool) enter(m *member) { heap.Push(p.orderOf(m), m) }

func (p *Pool) orderOf(m *member) *order {
	if p.cfg.Policy.domains {
		return &m.domain.order
	}
	return &p.order
}

// rank puts a domain that changed into its place, where the policy looks at domains.
func (p *Pool) rank(d *domain) {
	switch some := d.order.Len() > 0; {
	case some && d.at < 0:
		heap.Push(&p.ranks, d)
	case some:
		heap.Fix(&p.ranks, d.at)
	case d.at >= 0:
		heap.Remove(&p.ranks, d.at)
	}
}

func add(a, b Amount) Amount {
	for i := range a {
		a[i] += b[i]
	}
	return a
}

func sub(a, b Amount) Amount {
	for i := range a {
		a[i] -= min(a[i], b[i])
	}
	return a
}
