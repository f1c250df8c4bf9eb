//go:build amd64

package bare

import (
	"math"
	"testing"

	"splitvm/guest/bare"
	"splitvm/guest/layout"
	"splitvm/integration/require"
	"splitvm/vmm/memory"
)

func TestTouch(t *testing.T) {
	m := local(t, 8*mib)
	p := units(2, 8*mib)
	for i := range p {
		p[i].WriteBelow, p[i].Accesses, p[i].Warm, p[i].Sample = bare.Writes(1), 3, 1, 2
	}
	r := run(t, require.System(t), m, Spec{Program: bare.Touch, Params: p})
	for i, v := range r.VCPUs {
		want := 3 * p[i].Count
		if v.Result.Accesses != want || v.Result.Writes != want || v.Histogram.Count() != want/2 {
			t.Errorf("vCPU %d: %d accesses, %d writes, %d timed, want %d, %d, %d", i, v.Result.Accesses, v.Result.Writes, v.Histogram.Count(), want, want, want/2)
		}
		for u, w := range words(t, m, p[i]) {
			if w != p[i].Seed {
				t.Fatalf("unit %d holds %#x", u, w)
			}
		}
	}
}

// Reads find what is there and change nothing.
func TestTouchReads(t *testing.T) {
	m := local(t, 4*mib)
	p := units(1, 4*mib)
	p[0].Accesses = 2
	var sum uint64
	for u := range p[0].Count {
		must(t, m.Store64(layout.GPA(p[0].Start+u*bare.LineSize), u*u+1))
		sum += u*u + 1
	}
	r := run(t, require.System(t), m, Spec{Program: bare.Touch, Params: p})
	if got := r.VCPUs[0].Result; got.Sum != 2*sum || got.Writes != 0 {
		t.Errorf("sum %d and %d writes, want %d and none", got.Sum, got.Writes, 2*sum)
	}
	for u, w := range words(t, m, p[0]) {
		if w != uint64(u*u+1) {
			t.Fatalf("unit %d holds %#x", u, w)
		}
	}
}

func near(got, want uint64, tolerance float64) bool {
	return math.Abs(float64(got)-float64(want)) <= tolerance*float64(want)
}

// Mixtures have the share of writes that was asked for.
func TestShareOfWrites(t *testing.T) {
	m, sys := local(t, 8*mib), require.System(t)
	for _, prog := range []bare.Program{bare.Touch, bare.Random, bare.Zipf, bare.Chase, bare.Leap} {
		p := units(1, 8*mib)
		p[0].Scatter = 0x5851f42d4c957f2d
		p[0].Accesses, p[0].Warm, p[0].WriteBelow, p[0].Sample = 200_000, 1, bare.Writes(0.3), 7
		if prog.Name == "touch" {
			p[0].Accesses = 200
		}
		s := Spec{Program: prog, Params: p}
		switch prog.Name {
		case "zipf":
			zipf(t, &s)
		case "chase":
			chain(t, m, p)
		}
		r := run(t, sys, m, s).VCPUs[0]
		if want := r.Result.Accesses * 3 / 10; !near(r.Result.Writes, want, 0.02) {
			t.Errorf("%s: %d writes of %d", prog.Name, r.Result.Writes, r.Result.Accesses)
		}
		if want := r.Result.Accesses / 7; r.Histogram.Count() != want {
			t.Errorf("%s: %d timed, want %d", prog.Name, r.Histogram.Count(), want)
		}
		// A host that takes the CPU away in the middle of an access makes that nearly all
		// of the time, which the histogram knows to 3 %.
		total := float64(r.Result.End-r.Result.Begin) * 1.03
		if r.Histogram.Mean()*float64(r.Histogram.Count()) > total || r.Histogram.Quantile(1) > total || r.Histogram.Quantile(0.01) < 10 {
			t.Errorf("%s: timed accesses take longer than all: mean %.0f, p1 %.0f, max %.0f, all %.0f cycles", prog.Name,
				r.Histogram.Mean(), r.Histogram.Quantile(0.01), r.Histogram.Quantile(1), total)
		}
	}
}

// zipf prepares a Spec of program zipf whose vCPUs all have the same Count.
func zipf(t testing.TB, s *Spec) {
	t.Helper()
	classes, err := bare.ZipfClasses(uint32(s.Params[0].Count), 0.99)
	must(t, err)
	s.Table = bare.TableBytes(classes)
	for i := range s.Params {
		s.Params[i].Table, s.Params[i].TableCount = bare.TablesAt, uint64(len(classes))
		s.Params[i].Scatter = bare.Scatter(s.Params[i].Count)
	}
}

// Random accesses hit as many units as even odds do, Zipf's as many as its law
// does, and no others.
func TestUnitsHit(t *testing.T) {
	const accesses = 4000
	sys := require.System(t)
	for _, prog := range []bare.Program{bare.Random, bare.Zipf} {
		m := local(t, 18*mib+4*bare.LineSize)
		p := units(1, 18*mib)
		p[0].Accesses, p[0].WriteBelow = accesses, bare.Writes(1)
		s := Spec{Program: prog, Params: p}
		odds := func(uint64) float64 { return 1 / float64(p[0].Count) }
		if prog.Name == "zipf" {
			zipf(t, &s)
			var total float64
			for r := range p[0].Count {
				total += math.Pow(float64(r+1), -0.99)
			}
			odds = func(r uint64) float64 { return math.Pow(float64(r+1), -0.99) / total }
		}
		run(t, sys, m, s)
		var want float64
		for r := range p[0].Count {
			want += 1 - math.Pow(1-odds(r), accesses)
		}
		var got uint64
		for _, w := range words(t, m, p[0]) {
			if w != 0 {
				got++
			}
		}
		if !near(got, uint64(want), 0.05) {
			t.Errorf("%s: %d units hit, expected about %.0f", prog.Name, got, want)
		}
		if w, err := m.Load64(18 * mib); err != nil || w != 0 {
			t.Errorf("%s: wrote past the last unit (%v)", prog.Name, err)
		}
	}
}

// Passes that advance touch all lines of a stride in turn.
func TestAdvance(t *testing.T) {
	m := local(t, 4*mib)
	p := units(1, 4*mib)
	p[0].Count, p[0].Stride, p[0].Advance, p[0].WriteBelow = 16, 4*bare.LineSize, bare.LineSize, bare.Writes(1)
	p[0].Warm, p[0].Accesses = 1, 2
	var marks []int
	run(t, require.System(t), m, Spec{Program: bare.Touch, Params: p, AtMark: func(n int) { marks = append(marks, n) }})
	for line := range uint64(65) {
		w, err := m.Load64(layout.GPA(p[0].Start + line*bare.LineSize))
		must(t, err)
		if (w != 0) != (line < 64 && line%4 < 3) {
			t.Errorf("line %d holds %#x", line, w)
		}
	}
	if len(marks) != 1 || marks[0] != 1 {
		t.Errorf("marks %v, want one", marks)
	}
}

// With a Span all words of a unit are hit.
func TestSpan(t *testing.T) {
	m := local(t, 4*mib)
	p := units(1, 4*mib)
	p[0].Count, p[0].Accesses, p[0].WriteBelow, p[0].Span = 2, 20_000, bare.Writes(1), bare.LineSize-8
	run(t, require.System(t), m, Spec{Program: bare.Random, Params: p})
	for a := uint64(0); a < 3*bare.LineSize; a += 8 {
		w, err := m.Load64(layout.GPA(p[0].Start + a))
		must(t, err)
		if (w != 0) != (a < 2*bare.LineSize) {
			t.Fatalf("word at %#x holds %#x", a, w)
		}
	}
}

// A guest reaches its RAM on both sides of the hole below 4 GiB and at its end.
func TestMemoryAboveTheHole(t *testing.T) {
	ram, err := layout.New(64 << 30)
	must(t, err)
	m, err := memory.NewLocal(ram.RAM())
	must(t, err)
	defer m.Close()
	p := units(3, 4*mib)
	for i, start := range []layout.GPA{layout.LowRAMEnd - 16*bare.LineSize, layout.HighRAMStart, ram.End() - 16*bare.LineSize} {
		p[i].Start, p[i].Count, p[i].WriteBelow = uint64(start), 16, bare.Writes(1)
	}
	run(t, require.System(t), m, Spec{Program: bare.Touch, Params: p})
	for i := range p {
		for u, w := range words(t, m, p[i]) {
			if w != p[i].Seed {
				t.Errorf("unit %d from %#x on holds %#x", u, p[i].Start, w)
			}
		}
	}
	far := []bare.Params{{Start: uint64(layout.LowRAMEnd), Count: 1, Stride: bare.LineSize, Seed: 1, Accesses: 1}}
	if r, err := Run(t.Context(), require.System(t), m, Spec{Program: bare.Touch, Params: far}); err != nil || r.VCPUs[0].Result.Sum != ^uint64(0) {
		t.Errorf("a read in the hole: %+v, %v; want all ones", r, err)
	}
}
