package bench

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"splitvm/integration/programs"
	"splitvm/integration/require"
)

// The report's numbers are there, in an order that must hold, and the VMM is
// light: that does not depend on how busy the host is.
func TestStart(t *testing.T) {
	require.KVM(t)
	dir := t.TempDir()
	programs.Build(t, dir, "splitvm/cmd/splitvm")
	r, err := Start(t.Context(), StartConfig{Binary: filepath.Join(dir, "splitvm"), Memory: 4 << 30, CPUs: 2, Runs: 3, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	for name, s := range map[string]Summary{"first instruction": r.FirstInstruction, "process": r.Process, "stop": r.Stop, "overhead": r.Overhead, "private": r.Private} {
		if s.N != 3 || s.P50 <= 0 || s.P50 > s.P99 || s.P99 > s.Max || s.Mean > s.Max {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if r.Overhead.Max > 30 || r.Private.Max >= r.Overhead.Max {
		t.Errorf("the VMM has %.1f MiB, %.1f of them private; want 30 at most", r.Overhead.Max, r.Private.Max)
	}
	_, err = Start(t.Context(), StartConfig{Binary: filepath.Join(dir, "splitvm"), Memory: 1, CPUs: 1, Runs: 1, Patience: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "memory size") {
		t.Errorf("a guest without memory: %v", err)
	}
	if _, err := Start(t.Context(), StartConfig{Binary: "/nowhere/splitvm", Runs: 1}); !errors.Is(err, exec.ErrNotFound) && err == nil {
		t.Errorf("no binary: %v", err)
	}
}

func TestSummary(t *testing.T) {
	var values []float64
	for i := range 100 {
		values = append(values, float64(99-i))
	}
	want := Summary{N: 100, P50: 50, P90: 90, P99: 99, Max: 99, Mean: 49.5}
	if got := Summarize(values); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := Summarize(nil); got != (Summary{}) {
		t.Errorf("of nothing: %+v", got)
	}
}
