package rawfile

import (
	"testing"
	"time"
)

// A slow request sends the next ones to the pool; one that only had much to copy
// does not.
func TestPace(t *testing.T) {
	var p pace
	for range 3 {
		p.took(2*time.Millisecond, 128<<10)
		p.took(900*time.Microsecond, 4096)
		if !p.allows() {
			t.Fatal("copying counts as slow")
		}
		p.took(2*time.Millisecond, 4096)
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
