package remotetest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"

	"splitvm/remote"
)

func unwritten(t *testing.T, s Store) {
	create(t, s, at1, remote.MaxVRegionLines)
	for _, run := range []remote.Run{{First: 0, Count: 1}, {First: remote.MaxVRegionLines - 1, Count: 1}, {First: 511, Count: 256}} {
		mem := bytes.Repeat([]byte{0xa5}, int(run.Count)*remote.LineSize)
		zero, err := s.ReadLines(t.Context(), at1, []remote.Run{run}, [][]byte{mem})
		if err != nil || zero.Count() != int(run.Count) {
			t.Errorf("%v: %d zero lines, %v", run, zero.Count(), err)
		}
		if bytes.Count(mem, []byte{0xa5}) != len(mem) {
			t.Errorf("%v: memory of zero lines was touched", run)
		}
	}
	if n := held(t, s, at1.VRegion); n != 0 {
		t.Errorf("%d lines held after reading", n)
	}
}

// shapes writes and reads all numbers of lines, as one run and as many, from one
// slice and from many.
func shapes(t *testing.T, s Store) {
	create(t, s, at1, 1000)
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 2, 3, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256} {
		version := uint64(n)
		run := remote.Run{First: remote.Line(rng.IntN(700)), Count: uint32(n)}
		mustWrite(t, s, at1, version, run)
		wantVersion(t, s, at1, version, run)

		var runs []remote.Run
		var mem [][]byte
		for _, i := range rng.Perm(900)[:n] {
			l := remote.Line(i)
			runs = append(runs, remote.Run{First: l, Count: 1})
			m := lines(1)
			fillLine(m, at1.VRegion, l, version+1000)
			mem = append(mem, m)
		}
		if err := s.WriteLines(t.Context(), at1, runs, mem); err != nil {
			t.Fatal(err)
		}
		wantVersion(t, s, at1, version+1000, runs...)
		got := make([][]byte, n)
		for i := range got {
			got[i] = lines(1)
		}
		if zero, err := s.ReadLines(t.Context(), at1, runs, got); err != nil || !zero.None() {
			t.Fatal(zero, err)
		}
		for i := range got {
			if !bytes.Equal(got[i], mem[i]) {
				t.Fatalf("%d lines in slices of their own: line %d differs", n, i)
			}
		}
	}
}

// mixed reads held and zero lines together.
func mixed(t *testing.T, s Store) {
	create(t, s, at1, 1000)
	for l := remote.Line(0); l < 300; l += 3 {
		mustWrite(t, s, at1, 9, remote.Run{First: l, Count: 1})
	}
	for _, n := range []int{2, 63, 64, 65, 100, 192, 255, 256} {
		mem := bytes.Repeat([]byte{0xa5}, n*remote.LineSize)
		zero, err := s.ReadLines(t.Context(), at1, []remote.Run{{First: 0, Count: uint32(n)}}, [][]byte{mem})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			m := mem[i*remote.LineSize:][:remote.LineSize]
			if zero.Has(i) != (i%3 != 0) {
				t.Fatalf("%d lines: line %d is zero: %v", n, i, zero.Has(i))
			}
			if zero.Has(i) && bytes.Count(m, []byte{0xa5}) != len(m) {
				t.Fatalf("%d lines: memory of zero line %d was touched", n, i)
			}
			if v, whole := lineVersion(m, at1.VRegion, remote.Line(i)); !zero.Has(i) && (!whole || v != 9) {
				t.Fatalf("%d lines: line %d is not what was written", n, i)
			}
		}
	}
}

func discard(t *testing.T, s Store) {
	create(t, s, at1, remote.MaxVRegionLines)
	all := remote.Run{First: 100, Count: 200}
	mustWrite(t, s, at1, 1, all)
	drop := func(runs ...remote.Run) {
		t.Helper()
		if err := s.Discard(t.Context(), at1, runs); err != nil {
			t.Fatal(err)
		}
	}
	drop(remote.Run{First: 110, Count: 10}, remote.Run{First: 299, Count: 5})
	wantVersion(t, s, at1, 1, remote.Run{First: 100, Count: 10}, remote.Run{First: 120, Count: 179})
	wantVersion(t, s, at1, 0, remote.Run{First: 110, Count: 10}, remote.Run{First: 299, Count: 5})
	if n := held(t, s, at1.VRegion); n != 189 {
		t.Errorf("%d lines held, want 189", n)
	}
	drop(remote.Run{First: 110, Count: 10}) // nothing there any more
	mustWrite(t, s, at1, 2, remote.Run{First: 115, Count: 1})
	wantVersion(t, s, at1, 2, remote.Run{First: 115, Count: 1})
	drop(remote.Run{First: 0, Count: remote.MaxVRegionLines})
	wantVersion(t, s, at1, 0, remote.Run{First: 100, Count: 200})
	if n := held(t, s, at1.VRegion); n != 0 {
		t.Errorf("%d lines held after discarding all", n)
	}
}

// duplicates: a line named twice has one of the contents, whole.
func duplicates(t *testing.T, s Store) {
	create(t, s, at1, 100)
	mem := lines(2)
	fillLine(mem, at1.VRegion, 7, 1)
	fillLine(mem[remote.LineSize:], at1.VRegion, 7, 2)
	twice := []remote.Run{{First: 7, Count: 1}, {First: 7, Count: 1}}
	if err := s.WriteLines(t.Context(), at1, twice, [][]byte{mem}); err != nil {
		t.Fatal(err)
	}
	got := lines(2)
	if zero, err := s.ReadLines(t.Context(), at1, twice, [][]byte{got}); err != nil || !zero.None() {
		t.Fatal(zero, err)
	}
	v, whole := lineVersion(got, at1.VRegion, 7)
	if !whole || v != 1 && v != 2 || !bytes.Equal(got[:remote.LineSize], got[remote.LineSize:]) {
		t.Errorf("version %d, whole %v", v, whole)
	}
	if n := held(t, s, at1.VRegion); n != 1 {
		t.Errorf("%d lines held, want 1", n)
	}
}

// cancelled: a call whose context has ended ends, and does no harm.
func cancelled(t *testing.T, s Store) {
	create(t, s, at1, 100)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	mem := lines(1)
	_, err := s.ReadLines(ctx, at1, []remote.Run{{First: 1, Count: 1}}, [][]byte{mem})
	if k := remote.KindOf(err); k != remote.OK && k != remote.Cancelled {
		t.Errorf("read: %v", err)
	}
	fillLine(mem, at1.VRegion, 1, 1)
	err = s.WriteLines(ctx, at1, []remote.Run{{First: 1, Count: 1}}, [][]byte{mem})
	if k := remote.KindOf(err); k != remote.OK && k != remote.Cancelled {
		t.Errorf("write: %v", err)
	}
	mustWrite(t, s, at1, 2, remote.Run{First: 1, Count: 1})
	wantVersion(t, s, at1, 2, remote.Run{First: 1, Count: 1})
}

// model does random operations and compares with a map.
func model(t *testing.T, s Store) {
	const size = 600
	create(t, s, at1, size)
	rng := rand.New(rand.NewPCG(5, 6))
	want := map[remote.Line]uint64{}
	for step := range uint64(400) {
		var runs []remote.Run
		for range 1 + rng.IntN(6) {
			first := rng.IntN(size)
			runs = append(runs, remote.Run{First: remote.Line(first), Count: uint32(1 + rng.IntN(min(40, size-first)))})
		}
		each := func(f func(l remote.Line)) {
			for _, r := range runs {
				for l := r.First; l < r.First+remote.Line(r.Count); l++ {
					f(l)
				}
			}
		}
		switch rng.IntN(4) {
		case 0, 1:
			mustWrite(t, s, at1, step+1, runs...)
			each(func(l remote.Line) { want[l] = step + 1 })
		case 2:
			if err := s.Discard(t.Context(), at1, runs); err != nil {
				t.Fatal(err)
			}
			each(func(l remote.Line) { delete(want, l) })
		case 3:
			compare(t, s, runs, want)
		}
	}
	if n := held(t, s, at1.VRegion); n != len(want) {
		t.Errorf("%d lines held, want %d", n, len(want))
	}
}

func compare(t *testing.T, s Store, runs []remote.Run, want map[remote.Line]uint64) {
	t.Helper()
	mem := lines(remote.CountLines(runs))
	zero, err := s.ReadLines(t.Context(), at1, runs, [][]byte{mem})
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for _, r := range runs {
		for l := r.First; l < r.First+remote.Line(r.Count); l++ {
			v, ok := want[l]
			if zero.Has(i) == ok {
				t.Fatalf("line %d is zero: %v, want version %d", l, zero.Has(i), v)
			}
			if got, whole := lineVersion(mem[i*remote.LineSize:], at1.VRegion, l); ok && (!whole || got != v) {
				t.Fatalf("line %d: version %d, whole %v; want %d", l, got, whole, v)
			}
			i++
		}
	}
}
