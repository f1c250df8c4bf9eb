package remotetest

import (
	"context"
	"encoding/binary"
	"testing"

	"splitvm/remote"
)

// Limit is how many lines a store under test must be able to hold, and no more.
const Limit = 1024

// Store is what is tested: both roles of one monitor.
type Store interface {
	remote.LineStore
	remote.VRegions
}

// Roles puts the two roles together.
type Roles struct {
	remote.LineStore
	remote.VRegions
}

// Run tests the stores that open makes: each a new, empty one that holds Limit
// lines.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for name, test := range map[string]func(*testing.T, Store){
		"unwritten":  unwritten,
		"shapes":     shapes,
		"mixed":      mixed,
		"discard":    discard,
		"ranges":     ranges,
		"epochs":     epochs,
		"lifecycle":  lifecycle,
		"isolation":  isolation,
		"full":       full,
		"cancelled":  cancelled,
		"model":      model,
		"duplicates": duplicates,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// at1 is where most tests work.
var at1 = remote.Owned{VRegion: 0x11, Epoch: 5}

// fillLine writes a pattern that names the line and the version.
func fillLine(mem []byte, id remote.VRegionID, l remote.Line, version uint64) {
	mem = mem[:remote.LineSize]
	binary.LittleEndian.PutUint64(mem, uint64(id)<<32|uint64(l))
	binary.LittleEndian.PutUint64(mem[8:], version*0x9e3779b97f4a7c15)
	for n := 16; n < len(mem); n *= 2 {
		copy(mem[n:], mem[:n])
	}
}

// lineVersion returns the version of a line filled by fillLine; false if it is
// torn or another line's.
func lineVersion(mem []byte, id remote.VRegionID, l remote.Line) (uint64, bool) {
	const inverse = 0xf1de83e19937733d // of 0x9e3779b97f4a7c15 modulo 2^64
	version := binary.LittleEndian.Uint64(mem[8:]) * inverse
	want := make([]byte, remote.LineSize)
	fillLine(want, id, l, version)
	return version, string(want) == string(mem[:remote.LineSize])
}

func lines(n int) []byte { return make([]byte, n*remote.LineSize) }

// write writes one version of the lines of runs.
func write(t *testing.T, s Store, at remote.Owned, version uint64, runs ...remote.Run) error {
	t.Helper()
	mem := lines(remote.CountLines(runs))
	i := 0
	for _, r := range runs {
		for l := r.First; l < r.First+remote.Line(r.Count); l++ {
			fillLine(mem[i*remote.LineSize:], at.VRegion, l, version)
			i++
		}
	}
	return s.WriteLines(t.Context(), at, runs, [][]byte{mem})
}

// mustWrite is write that succeeds.
func mustWrite(t *testing.T, s Store, at remote.Owned, version uint64, runs ...remote.Run) {
	t.Helper()
	if err := write(t, s, at, version, runs...); err != nil {
		t.Fatal(err)
	}
}

// wantVersion reads the lines of runs and wants all of one version; 0 is zero.
func wantVersion(t *testing.T, s Store, at remote.Owned, version uint64, runs ...remote.Run) {
	t.Helper()
	n := remote.CountLines(runs)
	mem := lines(n)
	zero, err := s.ReadLines(t.Context(), at, runs, [][]byte{mem})
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for _, r := range runs {
		for l := r.First; l < r.First+remote.Line(r.Count); l++ {
			m := mem[i*remote.LineSize:][:remote.LineSize]
			if zero.Has(i) != (version == 0) {
				t.Fatalf("line %d: zero is %v, want version %d", l, zero.Has(i), version)
			}
			if got, whole := lineVersion(m, at.VRegion, l); version != 0 && (!whole || got != version) {
				t.Fatalf("line %d: version %d, whole %v; want %d", l, got, whole, version)
			}
			i++
		}
	}
	for i := n; i < remote.MaxBatch; i++ {
		if zero.Has(i) {
			t.Fatalf("position %d of %d is zero", i, n)
		}
	}
}

func wantKind(t *testing.T, what string, err error, want remote.Kind) {
	t.Helper()
	if got := remote.KindOf(err); got != want {
		t.Errorf("%s: %v (kind %d), want %v", what, err, got, want)
	}
}

func create(t *testing.T, s Store, at remote.Owned, lines uint32) {
	t.Helper()
	if err := s.Create(t.Context(), at, lines); err != nil {
		t.Fatal(err)
	}
}

func held(t *testing.T, s Store, id remote.VRegionID) int {
	t.Helper()
	st, err := s.Stat(context.WithoutCancel(t.Context()), id)
	if err != nil {
		t.Fatal(err)
	}
	return int(st.Held)
}
