//go:build amd64

package bare

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/integration/require"
	"splitvm/vmm/memory"
)

// logged reads what a vCPU logged.
func logged(t testing.TB, m *memory.Memory, p bare.Params, v VCPU) []bare.Event {
	t.Helper()
	log := make([]byte, v.Result.Accesses*bare.EventSize)
	must(t, m.ReadAt(log, layout.GPA(p.Table)))
	return bare.Events(log)
}

// word is one word of memory, read and swapped.
var word = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, in, out any) (bool, any) {
		if put := in.(uint64); put != 0 {
			return state == out, put
		}
		return state == out, state
	},
}

// histories runs 4 vCPUs over a few shared words.
func histories(t testing.TB) map[uint64][]porcupine.Operation {
	m := local(t, 8*mib)
	p := units(4, 8*mib)
	for i := range p {
		p[i].Table, p[i].TableCount = p[i].Start, 10_000
		p[i].Start, p[i].Count, p[i].Stride = 7*mib, 4, bare.LineSize
		p[i].Accesses, p[i].WriteBelow = 2000, bare.Writes(0.4)
	}
	r := run(t, require.System(t), m, Spec{Program: bare.History, Params: p})
	of := map[uint64][]porcupine.Operation{}
	for i, v := range r.VCPUs {
		events := logged(t, m, p[i], v)
		if len(events) != 2000 || !near(v.Result.Writes, 800, 0.15) {
			t.Errorf("vCPU %d logged %d events, %d writes", i, len(events), v.Result.Writes)
		}
		for _, e := range events {
			of[e.Address] = append(of[e.Address], porcupine.Operation{ClientId: i, Input: e.Put, Call: int64(e.Begin), Output: e.Found, Return: int64(e.End)})
		}
	}
	return of
}

// What 4 vCPUs see of shared words could have happened one after the other; a
// history with one changed event could not.
func TestHistoryIsLinearizable(t *testing.T) {
	of := histories(t)
	if len(of) != 4 {
		t.Errorf("%d words, want 4", len(of))
	}
	for a, ops := range of {
		if r := porcupine.CheckOperationsTimeout(word, ops, 5*time.Minute); r != porcupine.Ok {
			t.Errorf("word at %#x: %s", a, r)
		}
		ops[len(ops)/2].Output = ops[len(ops)/2].Output.(uint64) ^ 1<<40
		if r := porcupine.CheckOperationsTimeout(word, ops, 5*time.Minute); r == porcupine.Ok {
			t.Errorf("word at %#x: a foreign value was accepted", a)
		}
	}
}
