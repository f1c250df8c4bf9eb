package trouble

import (
	"encoding/binary"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	gb "splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/integration/require"
	"splitvm/vmm/bare"
)

// span is how long a test that verifies memory runs.
func span(test time.Duration) time.Duration {
	if os.Getenv("SPLITVM_SOAK") != "" {
		return 10 * time.Minute
	}
	return test
}

// pause is the mean time between two acts of a disturber in a run so long.
func pause(span time.Duration) time.Duration { return min(span/20, 1500*time.Millisecond) }

const guestSize = 128 << 20

// sizes are a quarter to a twentieth of a guest's memory.
var sizes = []uint64{guestSize / gb.LineSize / 4, guestSize / gb.LineSize / 20, guestSize / gb.LineSize / 8}

// TestNothingIsLost has two guests at the same monitors write their memory and
// check every word of every line that they touch against the number of times that
// they wrote it, under eviction, prefetch, resizes and pagers that are killed:
// not one stale, lost or foreign line.
func TestNothingIsLost(t *testing.T) {
	require.KVM(t)
	require.UFFD(t)
	monitors := startMonitors(t, 2)
	long := span(15 * time.Second)
	var guests sync.WaitGroup
	for id := range uint64(2) {
		g := newGuest(t, id+1, guestSize, sizes[0], monitors)
		d := disturb(g, id, pause(long), sizes)
		guests.Go(func() {
			verify(t, g, long, 0xfeed_0000+id, d.enough)
			d.end(t)
		})
	}
	guests.Wait()
}

// verify runs the verifying program for so long, and until all conditions hold, then
// checks all of memory, and that no write is missing.
func verify(t *testing.T, g *guest, long time.Duration, pattern uint64, until ...func() bool) {
	params := g.shares(2, pattern)
	before := sequences(t, g, params)
	var accesses, writes uint64
	run := func(flags, accesses uint64, share float64) bool {
		for i := range params {
			params[i].Flags, params[i].Accesses, params[i].WriteBelow = flags, accesses, gb.Writes(share)
			params[i].Seed = params[i].Seed*6364136223846793005 + 2 | 1
		}
		r, err := g.run(t.Context(), 4*time.Minute, bare.Spec{Program: gb.Verify, Params: params})
		if err != nil {
			t.Errorf("guest: %v", err)
			return false
		}
		ok := true
		for i, v := range r.VCPUs {
			if writes += v.Result.Writes; v.Status != gb.StatusDone {
				t.Errorf("vCPU %d found a word that is not what it wrote: %+v", i, v.Result.Wrong)
				ok = false
			}
		}
		return ok
	}
	n := 0
	lacking := func(ok func() bool) bool { return !ok() }
	for end := time.Now().Add(long); time.Now().Before(end) || slices.ContainsFunc(until, lacking); n++ {
		flags, count := uint64(gb.FlagRandom), params[0].Count/4
		if n%2 == 0 {
			flags, count = 0, params[0].Count
		}
		if !run(flags, count, 0.5) {
			return
		}
		accesses += 2 * count
	}
	if !run(0, params[0].Count, 0) { // all of it, once more
		return
	}
	t.Logf("%d runs, %d lines checked, %d written", n, accesses, writes)
	if sum := sequences(t, g, params) - before; sum != writes {
		t.Errorf("the guest's numbers say %d writes, and it made %d", sum, writes)
	}
}

// sequences adds up how often the lines were written, as the guest's tables say.
func sequences(t *testing.T, g *guest, params []gb.Params) (sum uint64) {
	for _, p := range params {
		b := make([]byte, 4*p.Count)
		must(t, g.memory.ReadAt(b, layout.GPA(p.Table)))
		for ; len(b) > 0; b = b[4:] {
			sum += uint64(binary.LittleEndian.Uint32(b))
		}
	}
	return sum
}
