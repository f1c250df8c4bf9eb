package rawfile

import (
	"errors"
	"runtime"
	"testing"
	"time"
)

// A request that waited sends the next ones to the pool; one that only had much to
// copy, or whose CPU was taken away, does not.
func TestPace(t *testing.T) {
	var p pace
	for range 3 {
		p.took(2*time.Millisecond, 128<<10, true)
		p.took(900*time.Microsecond, 4096, true)
		p.took(2*time.Millisecond, 4096, false)
		if !p.allows() {
			t.Fatal("copying counts as waiting")
		}
		p.took(2*time.Millisecond, 4096, true)
		for i := range penalty {
			if p.allows() {
				t.Fatalf("in place, %d after a slow one", i+1)
			}
		}
		if !p.allows() {
			t.Fatal("not in place again")
		}
	}
}

// Waiting is told from computing, by the second slow request at the latest.
func TestPaceFindsWaits(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	compute := func() error {
		for began := time.Now(); time.Since(began) < 2*slow; {
		}
		return nil
	}
	innocent := false
	for range 50 { // Go's scheduler may have this thread wait meanwhile
		var p pace
		p.run(4096, compute)
		p.run(4096, compute)
		innocent = innocent || p.allows() && p.suspect.Load() == scrutiny
	}
	if !innocent {
		t.Error("computing counts as waiting, always")
	}
	var p pace
	gone := errors.New("gone")
	for range 2 {
		if err := p.run(4096, func() error { time.Sleep(2 * slow); return gone }); err != gone {
			t.Error(err)
		}
	}
	if p.allows() {
		t.Error("in place after waiting")
	}
}
