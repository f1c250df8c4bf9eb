package share

import (
	"testing"

	"pgregory.net/rapid"
)

const mib = 1 << 20

func TestDivide(t *testing.T) {
	for _, c := range []struct {
		name   string
		budget uint64
		vnodes []VNode
		want   []uint64
	}{
		{"alone, up to its limit", 100 * mib, []VNode{{Floor: 8 * mib, Limit: 60 * mib, Weight: 1}}, []uint64{60 * mib}},
		{"alike", 100 * mib, []VNode{{10 * mib, 100 * mib, 1, 0}, {10 * mib, 100 * mib, 1, 0}}, []uint64{50 * mib, 50 * mib}},
		{"by weight", 100 * mib, []VNode{{10 * mib, 100 * mib, 3, 0}, {10 * mib, 100 * mib, 1, 0}}, []uint64{70 * mib, 30 * mib}},
		{"what one can't take goes to the other", 100 * mib, []VNode{{10 * mib, 20 * mib, 1, 0}, {10 * mib, 100 * mib, 1, 0}}, []uint64{20 * mib, 80 * mib}},
		{"by misses", 100 * mib, []VNode{{10 * mib, 100 * mib, 1, 1000}, {10 * mib, 100 * mib, 1, 0}}, []uint64{70 * mib, 30 * mib}},
		{"floors only", 20 * mib, []VNode{{10 * mib, 100 * mib, 1, 5}, {10 * mib, 100 * mib, 1, 0}}, []uint64{10 * mib, 10 * mib}},
	} {
		for i, got := range Divide(c.budget, c.vnodes) {
			if got != c.want[i] {
				t.Errorf("%s: vNode %d has %d MiB, want %d", c.name, i, got/mib, c.want[i]/mib)
			}
		}
	}
}

// Nobody is below the floor or above the limit, the budget is kept, and nothing
// is left over that somebody could take, but for rounding.
func TestDivideProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var vnodes []VNode
		floors, limits := uint64(0), uint64(0)
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			v := VNode{Floor: rapid.Uint64Range(0, 1<<30).Draw(t, "floor"), Weight: rapid.Uint64Range(0, 1000).Draw(t, "weight"),
				Misses: rapid.Float64Range(0, 1e6).Draw(t, "misses")}
			v.Limit = v.Floor + rapid.Uint64Range(0, 1<<34).Draw(t, "above")
			vnodes = append(vnodes, v)
			floors, limits = floors+v.Floor, limits+v.Limit
		}
		budget := floors + rapid.Uint64Range(0, 1<<35).Draw(t, "spare")
		sum := uint64(0)
		for i, size := range Divide(budget, vnodes) {
			if size < vnodes[i].Floor || size > vnodes[i].Limit {
				t.Fatalf("vNode %d has %d, floor %d, limit %d", i, size, vnodes[i].Floor, vnodes[i].Limit)
			}
			sum += size
		}
		if sum > budget || sum+uint64(len(vnodes))*64 < min(budget, limits) {
			t.Fatalf("gave out %d of %d, limits %d", sum, budget, limits)
		}
	})
}
