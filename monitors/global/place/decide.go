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
	chosen, passed, no := p.choose(r)
	// One domain twice is better than no place, where there are no more domains.
	shared := len(chosen) < r.Replicas
	if shared {
		for _, m := range passed {
			if len(chosen) < r.Replicas && m.fits(r.Need) && !r.excludes(m.ID) {
				chosen = append(chosen, m)
			}
		}
	}
	if len(chosen) == r.Replicas {
		p.take(chosen, r.Need)
	}
	for _, m := range append(passed, chosen...) {
		if m.at < 0 {
			heap.Push(&p.order, m)
		}
	}
	if len(chosen) < r.Replicas {
		return Decision{}, p.noRoom(r, len(chosen), no)
	}
	d := Decision{Why: p.why(chosen, no, shared)}
	for _, m := range chosen {
		p.reorder(m.domain)
		d.Members = append(d.Members, m.ID)
	}
	return d, nil
}

// choose takes members out of the order, best first, until enough of distinct
// domains are chosen; passed are the others that it took out.
func (p *Pool) choose(r Request) (chosen, passed []*member, no refused) {
	for len(chosen) < r.Replicas && p.order.Len() > 0 {
		m := heap.Pop(&p.order).(*member)
		switch {
		case r.excludes(m.ID):
			no.excluded++
		case !m.fits(r.Need):
			no.full++
		case has(chosen, m.domain):
			no.domain++
		default:
			chosen = append(chosen, m)
			continue
		}
		passed = append(passed, m)
	}
	return chosen, passed, no
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
		m.promised, m.domain.promised = add(m.promised, need), add(m.domain.promised, need)
		m.turn = p.turn
		m.weigh()
	}
}

// why is one line for people, written after the promise was made.
func (p *Pool) why(chosen []*member, no refused, shared bool) string {
	var b strings.Builder
	b.Grow(128)
	b.WriteString(p.cfg.Policy.Name)
	b.WriteString(" of ")
	b.WriteString(strconv.Itoa(p.order.Len()))
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
	closed := len(p.members) - p.order.Len()
	return fmt.Errorf("%w: %d of %d places found among %d members: %d are too full, %d are draining, %d were excluded",
		ErrNoRoom, found, r.Replicas, len(p.members), no.full, closed, no.excluded)
}
