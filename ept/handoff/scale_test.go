package handoff_test

import (
	"os"
	"testing"

	"splitvm/ept/guesttest"
	"splitvm/integration/require"
)

// scale is a size of what a miss must not depend on.
type scale struct {
	gib, monitors, resident int
}

// scales vary one size at a time around the first.
var scales = []scale{
	{16, 2, 4096},
	{1, 2, 4096}, {4, 2, 4096}, {64, 2, 4096}, {256, 2, 4096},
	{16, 1, 4096}, {16, 4, 4096}, {16, 8, 4096},
	{16, 2, 0}, {16, 2, 512}, {16, 2, 32768},
}

// TestMissScale measures a single demand miss over loopback TCP by the size of a
// sparse guest, the number of memory monitors and of lines that are resident, in
// turns, and prints a table with ratios to its first row. It asserts only that
// nothing grows as the sizes do.
func TestMissScale(t *testing.T) {
	require.UFFD(t)
	if os.Getenv("SPLITVM_BENCH") == "" {
		t.Skip("a measurement: set SPLITVM_BENCH=1 on a quiet machine")
	}
	var addrs []string
	for range 8 {
		addrs = append(addrs, startMonitorProcess(t).addr)
	}
	samples := make([][]int64, len(scales))
	for round := range 3 {
		for k := range scales {
			i := (k + round) % len(scales)
			s := scales[i]
			r := runAlone(t, guesttest.Spec{Pages: s.gib << 18, RegionLines: 1 << 18 / 4, Shards: 1, Capacity: 2048, Monitors: addrs[:s.monitors],
				Session: uint64(round*len(scales) + i + 1), Work: "miss", Ops: 1500, Resident: s.resident, Prefetch: "off", Threads: 1, Launch: true})
			check(t, r)
			if len(r.Samples) < 300 { // a loaded host evicts late
				t.Fatalf("%+v: only %d misses", s, len(r.Samples))
			}
			samples[i] = append(samples[i], r.Samples...)
		}
	}
	base50, base99 := us(samples[0], 0.5), us(samples[0], 0.99)
	t.Logf("%8s %9s %9s %10s %10s %7s %7s", "GUEST", "MONITORS", "RESIDENT", "P50 us", "P99 us", "xP50", "xP99")
	for i, s := range scales {
		p50, p99 := us(samples[i], 0.5), us(samples[i], 0.99)
		t.Logf("%4d GiB %9d %9d %10.1f %10.1f %7.2f %7.2f", s.gib, s.monitors, s.resident, p50, p99, p50/base50, p99/base99)
		if p50/base50 > 2 { // sizes differ by 8 to 64: what grew with one would be far above
			t.Errorf("a miss costs %.2f times that of the first row", p50/base50)
		}
	}
}
