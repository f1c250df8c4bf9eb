package handoff_test

import (
	"strings"
	"testing"
	"time"

	"splitvm/ept/guesttest"
	"splitvm/integration/require"
)

// TestLatePlacement: a guest whose vRegions get owners one after the other, from somebody
// who is away at first and slow or not there now and then, while pagers are killed,
// finds what it wrote.
func TestLatePlacement(t *testing.T) {
	require.UFFD(t)
	r := runAlone(t, guesttest.Spec{Pages: 8192, RegionLines: 512, Shards: 2, Capacity: 1024, Monitors: []string{startMonitor(t, 64<<20), startMonitor(t, 64<<20)}, Session: 1,
		Late: true, LateAfter: time.Second, Work: "verify", Threads: 4, Duration: 10 * time.Second, Writes: 60, Seed: 5, KillEvery: 150 * time.Millisecond,
		Least: 20_000})
	check(t, r)
	t.Logf("%d accesses, %d pagers", r.Accesses, r.Pagers)
}

// TestNeverPlaced: nobody has room for what the guest writes. It is stopped with the
// vRegion and the reason.
func TestNeverPlaced(t *testing.T) {
	require.UFFD(t)
	r := runAlone(t, guesttest.Spec{Pages: 2048, RegionLines: 1024, Shards: 1, Capacity: 512, Monitors: []string{startMonitor(t, 64<<20)}, Session: 1,
		Late: true, Refuse: "the memory monitors have no room", Work: "verify", Threads: 2, Writes: 100, Duration: time.Minute, Deadline: 5 * time.Second})
	for _, want := range []string{"find owners of vRegion", "the memory monitors have no room"} {
		if !strings.Contains(r.Error, want) {
			t.Errorf("error %q doesn't say %q", r.Error, want)
		}
	}
}
