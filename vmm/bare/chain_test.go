//go:build amd64

package bare

import (
	"testing"

	"splitvm/guest/bare"
	"splitvm/integration/require"
	"splitvm/vmm/memory"
)

// chain writes chains through all units.
func chain(t testing.TB, m *memory.Memory, p []bare.Params) {
	t.Helper()
	for i := range p {
		p[i].Scatter = 0x5851f42d4c957f2d
	}
	run(t, require.System(t), m, Spec{Program: bare.Chain, Params: p})
}

// The chain goes through all units once and back to the first, and chase
// follows it, for numbers of units that are a power of two and others.
func TestChain(t *testing.T) {
	sys := require.System(t)
	for _, count := range []uint64{1, 2, 3, 64, 100, 511, 512} {
		m := local(t, 4*mib)
		p := units(1, 4*mib)
		p[0].Count = count
		chain(t, m, p)
		next := words(t, m, p[0])
		seen := make([]bool, count)
		at, far := p[0].Start, 0
		for range count {
			u := (at - p[0].Start) / bare.LineSize
			if u >= count || seen[u] {
				t.Fatalf("%d units: chain leads to unit %d twice or out of them", count, u)
			}
			if step := int64(next[u]) - int64(at); step > 4*bare.LineSize || step < -4*bare.LineSize {
				far++
			}
			seen[u], at = true, next[u]
		}
		if at != p[0].Start {
			t.Errorf("%d units: chain ends at %#x", count, at)
		}
		if count > 64 && uint64(far) < count*8/10 {
			t.Errorf("%d units: only %d steps go far", count, far)
		}
		p[0].Accesses, p[0].Warm = 2*count, count
		if r := run(t, sys, m, Spec{Program: bare.Chase, Params: p}).VCPUs[0].Result; r.Sum != p[0].Start {
			t.Errorf("%d units: chase ends at %#x", count, r.Sum)
		}
	}
}

// Leap touches every unit once in Count accesses.
func TestLeap(t *testing.T) {
	m := local(t, 4*mib)
	p := units(1, 4*mib)
	p[0].Count, p[0].Accesses, p[0].Scatter, p[0].WriteBelow = 300, 300, 0x5851f42d4c957f2d, bare.Writes(1)
	run(t, require.System(t), m, Spec{Program: bare.Leap, Params: p})
	p[0].Count = 301
	for u, w := range words(t, m, p[0]) {
		if (w != 0) != (u < 300) {
			t.Fatalf("unit %d holds %#x", u, w)
		}
	}
}
