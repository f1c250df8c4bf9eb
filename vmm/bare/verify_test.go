//go:build amd64

package bare

import (
	"testing"

	"splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/integration/require"
)

// tracked is one vCPU's units, behind their sequence numbers.
func tracked(count uint64, flags uint64) []bare.Params {
	p := units(1, 8*mib)
	p[0].Table = bare.Memory
	p[0].Start = bare.Memory + mib
	p[0].Count, p[0].Accesses, p[0].Flags = count, 20*count, flags
	p[0].WriteBelow, p[0].Words, p[0].WordStride, p[0].Pattern = bare.Writes(0.5), 512, 8, 0xabc
	return p
}

func TestVerifyFindsNothingWrong(t *testing.T) {
	sys := require.System(t)
	for _, flags := range []uint64{0, bare.FlagRandom} {
		m := local(t, 8*mib)
		p := tracked(100, flags)
		for range 2 { // the second goes on with what the first wrote
			v := run(t, sys, m, Spec{Program: bare.Verify, Params: p}).VCPUs[0]
			if v.Status != bare.StatusDone || v.Result.Accesses != 2000 || !near(v.Result.Writes, 1000, 0.1) {
				t.Fatalf("flags %d: status %d, %+v", flags, v.Status, v.Result)
			}
		}
		for u := range p[0].Count { // the guest's words are the ones that the host expects
			seq, err := m.Load32(layout.GPA(p[0].Table + 4*u))
			must(t, err)
			a := p[0].Start + u*bare.LineSize + 8*(u%512)
			if w, err := m.Load64(layout.GPA(a)); err != nil || w != bare.Word(0xabc, a, uint64(seq)) || seq == 0 {
				t.Fatalf("word at %#x is %#x at sequence %d, %v", a, w, seq, err)
			}
		}
	}
}

// One wrong bit is found, wherever it is, and a line lost to zeroes as well.
func TestVerifyFindsWrongWord(t *testing.T) {
	sys := require.System(t)
	for _, tt := range []struct {
		unit, word uint64
		flip       uint64
	}{{0, 0, 1}, {99, 511, 1 << 63}, {50, 100, 0}} {
		m := local(t, 8*mib)
		p := tracked(100, 0)
		run(t, sys, m, Spec{Program: bare.Verify, Params: p})
		a := p[0].Start + tt.unit*bare.LineSize + 8*tt.word
		was, err := m.Load64(layout.GPA(a))
		must(t, err)
		now := was ^ tt.flip
		if tt.flip == 0 {
			now = 0
		}
		must(t, m.Store64(layout.GPA(a), now))
		v := run(t, sys, m, Spec{Program: bare.Verify, Params: p}).VCPUs[0]
		if w := v.Result.Wrong; v.Status != bare.StatusWrong || w.Address != a || w.Found != now || w.Expected != was || w.Sequence == 0 {
			t.Errorf("%+v: status %d, %+v", tt, v.Status, w)
		}
	}
}

// Fill writes the words of the first sequence number.
func TestFill(t *testing.T) {
	m := local(t, 8*mib)
	p := tracked(10, bare.FlagFillHalf)
	run(t, require.System(t), m, Spec{Program: bare.Fill, Params: p})
	for a := p[0].Start; a < p[0].Start+11*bare.LineSize; a += 8 {
		want := bare.Word(0xabc, a, 1)
		if a&64 != 0 || a >= p[0].Start+10*bare.LineSize {
			want = 0
		}
		if w, err := m.Load64(layout.GPA(a)); err != nil || w != want {
			t.Fatalf("word at %#x is %#x, %v, want %#x", a, w, err, want)
		}
	}
}
