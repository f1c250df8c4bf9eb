package probe

import (
	"testing"
	"time"

	"splitvm/integration/require"
)

func TestRing0(t *testing.T) {
	sys := require.System(t)
	start := time.Now()
	s, err := Ring0(t.Context(), sys)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ring 0 runs at %.1f MIPS (emulated: %v), found in %v", s.MIPS, s.Emulated(), time.Since(start))
	if s.MIPS <= 0 {
		t.Error("no rate was measured")
	}
}
