package place

import (
	"errors"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func pool(t testing.TB, policy string, members ...Member) *Pool {
	t.Helper()
	p, err := PolicyByName(policy)
	if err != nil {
		t.Fatal(err)
	}
	pool := NewPool(Config{Policy: p})
	for _, m := range members {
		pool.Set(m)
	}
	return pool
}

func of(id ID, capacity uint64, domain string) Member {
	return Member{ID: id, Capacity: Amount{capacity}, Domain: domain}
}

// Each policy's choices for eight requests of one unit.
func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		policy string
		want   []ID
	}{
		{"least-load", []ID{3, 1, 2, 3, 3, 1, 2, 3}},
		{"most-free", []ID{3, 3, 3, 3, 3, 1, 2, 3}},
		{"round-robin", []ID{1, 2, 3, 1, 2, 3, 1, 2}},
		{"spread", []ID{3, 1, 3, 3, 3, 2, 3, 3}},
	} {
		p := pool(t, c.policy, of(1, 5, "a"), of(2, 5, "a"), of(3, 10, "b"))
		var got []ID
		for range c.want {
			d, err := p.Place(Request{Need: Amount{1}, Replicas: 1})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, d.Members[0])
		}
		if c.policy == "spread" { // the two domains are alike: as many each
			a := 0
			for _, id := range got {
				if id != 3 {
					a++
				}
			}
			if a != 4 {
				t.Errorf("spread: %v: %d in domain a, want 4", got, a)
			}
			continue
		}
		if len(got) != len(c.want) || !equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.policy, got, c.want)
		}
	}
}

func equal(a, b []ID) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestReplicasAvoidDomains(t *testing.T) {
	p := pool(t, "least-load", of(1, 10, "a"), of(2, 10, "a"), of(3, 2, "b"))
	d, err := p.Place(Request{Need: Amount{1}, Replicas: 2})
	if err != nil || d.Members[0] == 2 && d.Members[1] == 1 || d.Members[1] != 3 && d.Members[0] != 3 {
		t.Fatalf("%v %v, want one of domain a and member 3", d, err)
	}
	if d, err = p.Place(Request{Need: Amount{2}, Replicas: 2}); err != nil || !strings.Contains(d.Why, "share a failure domain") {
		t.Fatalf("%v %v, want a shared domain that is mentioned", d, err)
	}
	if _, err = p.Place(Request{Need: Amount{1}, Replicas: 4}); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("4 replicas on 3 members: %v", err)
	}
}

func TestOvercommitAndClosed(t *testing.T) {
	p := NewPool(Config{Policy: policies[0], Overcommit: [Dims]float64{1.5, 0}})
	p.Set(Member{ID: 1, Capacity: Amount{10, 4}})
	for i := range 15 {
		if _, err := p.Place(Request{Need: Amount{1}, Replicas: 1}); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if _, err := p.Place(Request{Need: Amount{1}, Replicas: 1}); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("beyond the limit: %v", err)
	}
	p.Release(1, Amount{15})
	if _, err := p.Place(Request{Need: Amount{1, 5}, Replicas: 1}); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("more than there is of the second resource: %v", err)
	}
	p.Set(Member{ID: 1, Capacity: Amount{10, 4}, Closed: true})
	if _, err := p.Place(Request{Need: Amount{1}, Replicas: 1}); !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "1 are draining") {
		t.Fatalf("draining: %v", err)
	}
}

// Whatever happens, no decision goes over a limit, and the pool's sums are
// those of a plain model.
func TestPoolProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := policies[rapid.IntRange(0, len(policies)-1).Draw(t, "policy")]
		p := NewPool(Config{Policy: policy})
		promised, limit, closed := map[ID]uint64{}, map[ID]uint64{}, map[ID]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := ID(rapid.IntRange(1, 12).Draw(t, "id"))
			n := uint64(rapid.IntRange(1, 20).Draw(t, "n"))
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				m := of(id, n*5, string(rune('a'+id%3)))
				m.Closed = n%7 == 0
				p.Set(m)
				if limit[id] = n * 5; m.Closed {
					closed[id] = true
				} else {
					delete(closed, id)
				}
			case 1:
				p.Remove(id)
				delete(limit, id)
				delete(promised, id)
			case 2:
				p.Release(id, Amount{n})
				promised[id] -= min(promised[id], n)
			default:
				checkPlace(t, p, Request{Need: Amount{n}, Replicas: int(id)%3 + 1}, promised, limit, closed)
			}
			checkOrders(t, p)
			for id := range limit {
				if got := p.Promised(id); got[0] != promised[id] {
					t.Fatalf("member %d: %d promised, want %d", id, got[0], promised[id])
				}
			}
		}
	})
}

// checkOrders looks whether the best is where the next decision looks for it, and every
// open member in some order.
func checkOrders(t *rapid.T, p *Pool) {
	if !heapOrdered(&p.order) || !heapOrdered(&p.ranks) {
		t.Fatalf("%s: what is preferred comes later", p.cfg.Policy.Name)
	}
	n, open := p.order.Len(), 0
	for _, d := range p.domains {
		if !heapOrdered(&d.order) || (d.order.Len() > 0) != (d.at >= 0) {
			t.Fatalf("%s: a domain's members are out of order, or it is: %d members, rank %d", p.cfg.Policy.Name, d.order.Len(), d.at)
		}
		n += d.order.Len()
	}
	for _, m := range p.members {
		if !m.Closed {
			open++
		}
	}
	if n != open || n != p.open {
		t.Fatalf("%s: %d members in order of %d that are open, %d by the count", p.cfg.Policy.Name, n, open, p.open)
	}
}

func heapOrdered(h sort.Interface) bool {
	for i := 1; i < h.Len(); i++ {
		if h.Less(i, (i-1)/2) {
			return false
		}
	}
	return true
}

func checkPlace(t *rapid.T, p *Pool, r Request, promised, limit map[ID]uint64, closed map[ID]bool) {
	fit := 0
	for id, l := range limit {
		if promised[id]+r.Need[0] <= l && !closed[id] {
			fit++
		}
	}
	d, err := p.Place(r)
	if (err == nil) != (fit >= r.Replicas) {
		t.Fatalf("%d members fit, %d replicas: %v", fit, r.Replicas, err)
	}
	if err != nil {
		return
	}
	seen := map[ID]bool{}
	for _, id := range d.Members {
		promised[id] += r.Need[0]
		if seen[id] || closed[id] || promised[id] > limit[id] {
			t.Fatalf("member %d chosen twice or over its limit: %v", id, d)
		}
		seen[id] = true
	}
}

// Spread fills failure domains evenly, however many members each has, and replicas are
// in distinct ones; one that is drained takes nothing.
func TestSpread(t *testing.T) {
	p := pool(t, "spread")
	for i, n := range []int{1, 2, 5, 12} { // members; 120 in each domain
		for k := range n {
			p.Set(of(ID(100*i+k), uint64(120/n), string(rune('a'+i))))
		}
	}
	for range 200 {
		d, err := p.Place(Request{Need: Amount{1}, Replicas: 2})
		if err != nil || d.Members[0]/100 == d.Members[1]/100 {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	for name, d := range p.domains {
		if d.promised[0] != 100 {
			t.Errorf("domain %s has %d of 400", name, d.promised[0])
		}
	}
	p.Set(Member{ID: 0, Capacity: Amount{120}, Domain: "a", Closed: true})
	for range 10 {
		d, err := p.Place(Request{Need: Amount{1}, Replicas: 3})
		if err != nil || d.Members[0] == 0 || d.Members[1] == 0 || d.Members[2] == 0 {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	if _, err := p.Place(Request{Need: Amount{1}, Replicas: 20}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("20 of 19 members: %v", err)
	}
	if d, err := p.Place(Request{Need: Amount{1}, Replicas: 4}); err != nil || !strings.Contains(d.Why, "share a failure domain") {
		t.Errorf("4 replicas in 3 domains: %+v, %v", d, err)
	}
}
