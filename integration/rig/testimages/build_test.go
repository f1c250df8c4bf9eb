package testimages

import (
	"os"
	"testing"

	"splitvm/integration/require"
	"splitvm/integration/rig/debs"
)

// What the images are good for, tests in the rig show; that they can be built, and
// have all their parts, needs no machine.
func TestBuild(t *testing.T) {
	require.Rig(t)
	cache, err := debs.Open("", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	path, err := Build(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() < 1<<20 {
		t.Errorf("%v, %v", info, err)
	}
}
