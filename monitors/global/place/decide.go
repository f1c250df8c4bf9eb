package place

import (
	"container/heap"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// refused counts, for the reason of a decision, members that came first in the
// order but were passed over.
type refused struct{ full, domain, excluded int }

// Place decides where a request goes and promises its needs there. With
// ErrNoRoom nothing is promised.
func (p *Pool) Place(r Request) (Decision, error) {
	if r.Replicas < 1 {
		return Decision{}, fmt.Errorf("place: %d replicas", r.Replicas)
	}
	c := p.choose(r)
	// One domain twice is better than no place, where there are no more domains.
	shared := len(c.chosen) < r.Replicas
	if shared {
		for _, m := range c.passed {
			if len(c.chosen) < r.Replicas && m.fits(r.Need) && !r.excludes(m.ID) {
				c.chosen = append(c.chosen, m)
			}
		}
	}
	if len(c.chosen) == r.Replicas {
		p.take(c.chosen, r.Need)
	}
	p.putBack(&c)
	if len(c.chosen) < r.Replicas {
		return Decision{}, p.noRoom(r, len(c.chosen), c.no)
	}
	d := Decision{Why: p.why(c.chosen, c.no, shared)}
	for _, m := range c.chosen {
		d.Members = append(d.Members, m.ID)
	}
	return d, nil
}

// choice is what choose found, and all that it took out of orders and ranks to that end.
type choice struct {
	chosen, passed []*member
	aside          []*domain
	no             refused
}

// choose takes members out, best first, until enough of distinct domains are chosen.
func (p *Pool) choose(r Request) (c choice) {
	if p.cfg.Policy.domains {
		p.chooseDomains(r, &c)
		return c
	}
	for len(c.chosen) < r.Replicas && p.order.Len() > 0 {
		m := heap.Pop(&p.order).(*member)
		if has(c.chosen, m.domain) {
			c.no.domain++
			c.passed = append(c.passed, m)
			continue
		}
		c.consider(m, &r)
	}
	return c
}

// consider chooses a member, or passes it over.
func (c *choice) consider(m *member, r *Request) bool {
	switch {
	case r.excludes(m.ID):
		c.no.excluded++
	case !m.fits(r.Need):
		c.no.full++
	default:
		c.chosen = append(c.chosen, m)
		return true
	}
	c.passed = append(c.passed, m)
	return false
}

// chooseDomains takes domains out, best first, and of each the best member that will do.
// If there are too few domains, all that is open is taken out.
func (p *Pool) chooseDomains(r Request, c *choice) {
	for len(c.chosen) < r.Replicas && p.ranks.Len() > 0 {
		d := heap.Pop(&p.ranks).(*domain)
		c.aside = append(c.aside, d)
		for d.order.Len() > 0 && !c.consider(heap.Pop(&d.order).(*member), &r) {
		}
	}
	if len(c.chosen) == r.Replicas {
		return
	}
	for _, d := range c.aside {
		for d.order.Len() > 0 {
			c.passed = append(c.passed, heap.Pop(&d.order).(*member))
		}
	}
}

// putBack puts everything back in its place.
func (p *Pool) putBack(c *choice) {
	for _, m := range append(c.passed, c.chosen...) {
		if m.at < 0 {
			p.enter(m)
		}
	}
	for _, d := range c.aside {
		p.rank(d)
	}
}

func has(list []*member, d *domain) bool {
	for _, m := range list {
		if m.domain == d {
			return true
		}
	}
	return false
}

// fits tells whether the member has room for need.
func (m *member) fits(need Amount) bool {
	for i, n := range need {
		if n > 0 && m.limit[i] > 0 && (m.promised[i] > m.limit[i] || n > m.limit[i]-m.promised[i]) {
			return false
		}
	}
	return need[0] == 0 || m.limit[0] > 0
}

func (p *Pool) take(chosen []*member, need Amount) {
	p.turn++
	for _, m := range chosen {
		m.promise(need, add)
		m.turn = p.turn
	}
}

// why is one line for people, written after the promise was made.
func (p *Pool) why(chosen []*member, no refused, shared bool) string {
	var b strings.Builder
	b.Grow(128)
	b.WriteString(p.cfg.Policy.Name)
	b.WriteString(" of ")
	b.WriteString(strconv.Itoa(p.open))
	if no.full > 0 {
		fmt.Fprintf(&b, ", %d before it full", no.full)
	}
	if no.domain > 0 {
		fmt.Fprintf(&b, ", %d passed over for another failure domain", no.domain)
	}
	if shared {
		b.WriteString(", replicas share a failure domain for want of more")
	}
	for i, m := range chosen {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep)
		b.WriteString(m.label())
		b.WriteString(" now ")
		b.WriteString(strconv.Itoa(int(math.Round(100 * m.load))))
		b.WriteString(" % promised")
	}
	return b.String()
}

func (m *member) label() string {
	if m.Name != "" {
		return m.Name
	}
	return "member " + strconv.FormatUint(uint64(m.ID), 10)
}

func (p *Pool) noRoom(r Request, found int, no refused) error {
	closed := len(p.members) - p.open
	return fmt.Errorf("%w: %d of %d places found among %d members: %d are too full, %d are draining, %d were excluded",
		ErrNoRoom, found, r.Replicas, len(p.members), no.full, closed, no.excluded)
}
