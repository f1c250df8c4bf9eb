package handoff_test

import (
	"os"
	"testing"

	"splitvm/ept/guesttest"
	"splitvm/integration/require"
)

// TestStreams measures passes over memory of four times the ExCache, against the first
// touch of local memory.
func TestStreams(t *testing.T) {
	require.UFFD(t)
	if os.Getenv("SPLITVM_BENCH") == "" {
		t.Skip("a measurement: set SPLITVM_BENCH=1 on a quiet machine")
	}
	m := startMonitorProcess(t)
	for i, prefetch := range []string{"majority", "sequential", "off", "majority"} {
		for _, writes := range []int{0, 100} {
			local := runAlone(t, guesttest.Spec{Pages: 16384, RegionLines: 1 << 18, Work: "pass", Passes: 2, Writes: writes, Local: true})
			r := runAlone(t, guesttest.Spec{Pages: 16384, RegionLines: 1 << 18, Shards: 1, Capacity: 4096, Monitors: []string{m.addr}, Session: uint64(100 + 2*i + writes),
				Work: "pass", Passes: 4, Writes: writes, Threads: 1, Launch: true, Prefetch: prefetch})
			check(t, r)
			s := stats(t, r)
			t.Logf("%s, writes %d: local %v ns/page, remote %v ns/page; missed %d zero %d held %d waited %d upgrade %d late %d ahead %d+%d failed %d opened %d marks %d/%d evicted %d starved %d", prefetch, writes, local.Passes, r.Passes,
				s.Missed, s.Zero, s.Held, s.Waited, s.Upgrade, s.Late, s.Ahead, s.AheadZero, s.AheadFailed, s.Opened, s.MarksUsed, s.MarksLost, s.Evicted, s.Starved)
		}
	}
}
