package bare

import (
	"context"
	"slices"
	"testing"
	"time"

	gb "splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/integration/require"
	"splitvm/vmm/bare"
	"splitvm/vmm/memory"
)

// A guest starts and ends again and again, with one vCPU and with several, and
// nothing is left of it: no thread, descriptor, mapping or memory.
func TestStartsInARow(t *testing.T) {
	sys := require.System(t)
	ram, err := layout.New(4 << 30)
	must(t, err)
	var before usage
	var took []time.Duration
	n := rounds(100, 1000)
	for i := range n {
		if i == 10 {
			before = used(t)
		}
		begin := time.Now()
		m, err := memory.NewLocal(ram.RAM())
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		params := make([]gb.Params, 1+i%4)
		params[0].Status = uint64(i)
		r, err := bare.Run(ctx, sys, m, bare.Spec{Program: gb.Exit, Params: params})
		must(t, err)
		if got := r.VCPUs[0].Status; got != uint32(i) {
			t.Fatalf("start %d exited with %d", i, got)
		}
		took = append(took, r.End.Sub(begin))
		cancel()
		must(t, m.Close())
	}
	slices.Sort(took)
	t.Logf("%d starts of a 4 GiB guest, to the exit of its last vCPU: p50 %v, p99 %v, longest %v", n, took[n/2], took[n*99/100], took[n-1])
	leftBehind(t, before)
}
