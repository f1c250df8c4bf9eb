//go:build amd64

package bare

import (
	"context"
	"errors"
	"testing"
	"time"

	"splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/integration/require"
	"splitvm/vmm"
	"splitvm/vmm/kvm"
	"splitvm/vmm/memory"
)

const mib = 1 << 20

func local(t testing.TB, size uint64) *memory.Memory {
	t.Helper()
	m, err := memory.NewLocal([]layout.Range{{Start: 0, Size: size}})
	must(t, err)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func run(t testing.TB, sys *kvm.System, m *memory.Memory, s Spec) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := Run(ctx, sys, m, s)
	must(t, err)
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// units are the lines of [2 MiB, size) shared out to n vCPUs.
func units(n int, size uint64) []bare.Params {
	var all []bare.Params
	share := (size - bare.Memory) / bare.LineSize / uint64(n)
	for i := range uint64(n) {
		all = append(all, bare.Params{
			Start: bare.Memory + i*share*bare.LineSize, Count: share, Stride: bare.LineSize,
			Seed: 0x9e3779b97f4a7c15 * (i + 1), Accesses: 1, Words: 8, WordStride: 512,
		})
	}
	return all
}

// words reads the first word of each unit.
func words(t testing.TB, m *memory.Memory, p bare.Params) []uint64 {
	t.Helper()
	var all []uint64
	for u := range p.Count {
		w, err := m.Load64(layout.GPA(p.Start + u*p.Stride))
		must(t, err)
		all = append(all, w)
	}
	return all
}

func TestStatusesOfAllVCPUs(t *testing.T) {
	r := run(t, require.System(t), local(t, 4*mib), Spec{Program: bare.Exit, Params: []bare.Params{{Status: 7}, {}, {Status: 1 << 31}}})
	for i, want := range []uint32{7, 0, 1 << 31} {
		if got := r.VCPUs[i].Status; got != want {
			t.Errorf("vCPU %d exited with %d, want %d", i, got, want)
		}
	}
}

func TestMostVCPUs(t *testing.T) {
	r := run(t, require.System(t), local(t, 4*mib), Spec{Program: bare.Touch, Params: units(bare.MaxVCPUs, 4*mib)})
	for i, v := range r.VCPUs {
		if v.Status != bare.StatusDone || v.Result.Accesses != 8 || v.Result.Marks != 1 {
			t.Errorf("vCPU %d: status %d, %+v", i, v.Status, v.Result)
		}
	}
	if len(r.Marks) != 1 || r.End.Before(r.Marks[0]) {
		t.Errorf("marks %v, end %v", r.Marks, r.End)
	}
}

func TestRefusedSpecs(t *testing.T) {
	sys, m := require.System(t), local(t, 4*mib)
	for name, s := range map[string]Spec{
		"no vCPU":     {Program: bare.Exit},
		"65 vCPUs":    {Program: bare.Exit, Params: make([]bare.Params, 65)},
		"large table": {Program: bare.Exit, Params: make([]bare.Params, 1), Table: make([]byte, bare.MaxTables+1)},
	} {
		if _, err := Run(t.Context(), sys, m, s); err == nil {
			t.Errorf("%s: ran", name)
		}
	}
}

// A guest that dies, or does not end, is an error that says so.
func TestOtherEnds(t *testing.T) {
	sys, m := require.System(t), local(t, 4*mib)
	var e *EndError
	far := []bare.Params{{Start: 1 << 46, Count: 1, Accesses: 1, Seed: 1}}
	if _, err := Run(t.Context(), sys, m, Spec{Program: bare.Touch, Params: far}); !errors.As(err, &e) || e.Outcome.End != vmm.TripleFault {
		t.Errorf("touch of what is not mapped: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	long := units(2, 4*mib)
	long[1].Accesses = 1 << 60 // the other one ends
	if _, err := Run(ctx, sys, m, Spec{Program: bare.Touch, Params: long}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("guest without end: %v", err)
	}
}
