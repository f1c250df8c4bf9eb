package remote

import (
	"errors"
	"fmt"
	"math"
	"testing"
)

// LineSet against a map of positions.
func TestLineSet(t *testing.T) {
	for n := range MaxBatch + 1 {
		var s LineSet
		s.AddFirst(n)
		if s.Count() != n || s.None() != (n == 0) {
			t.Fatalf("AddFirst(%d) has %d", n, s.Count())
		}
		for i := range MaxBatch {
			if s.Has(i) != (i < n) {
				t.Fatalf("AddFirst(%d): position %d is %v", n, i, s.Has(i))
			}
		}
	}
	var s LineSet
	for i := 0; i < MaxBatch; i += 7 {
		s.Add(i)
	}
	for i := range MaxBatch {
		if s.Has(i) != (i%7 == 0) {
			t.Fatalf("position %d is %v", i, s.Has(i))
		}
	}
}

func TestFits(t *testing.T) {
	mem := func(sizes ...int) (m [][]byte) {
		for _, n := range sizes {
			m = append(m, make([]byte, n))
		}
		return m
	}
	for _, c := range []struct {
		name string
		runs []Run
		mem  [][]byte
		want bool
	}{
		{"one", []Run{{0, 1}}, mem(LineSize), true},
		{"two runs in three slices", []Run{{0, 2}, {9, 3}}, mem(LineSize, 2*LineSize, 2*LineSize), true},
		{"a full batch", []Run{{0, MaxBatch}}, mem(MaxBatch * LineSize), true},
		{"one too many", []Run{{0, MaxBatch + 1}}, mem((MaxBatch + 1) * LineSize), false},
		{"nothing", nil, nil, false},
		{"no memory", []Run{{0, 1}}, nil, false},
		{"an empty slice", []Run{{0, 1}}, mem(LineSize, 0), false},
		{"lines cut by slices", []Run{{0, 1}}, mem(LineSize/2, LineSize/2), false},
		{"counts that overflow", []Run{{0, math.MaxUint32}, {0, math.MaxUint32}, {0, 3}}, mem(LineSize), false},
	} {
		if got := Fits(c.runs, c.mem); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestKindOf(t *testing.T) {
	wrapped := fmt.Errorf("read line 5 of vr-1: %w", StaleEpoch)
	for _, c := range []struct {
		err  error
		want Kind
	}{{nil, OK}, {Full, Full}, {wrapped, StaleEpoch}, {errors.New("else"), Internal}} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
	if !errors.Is(wrapped, StaleEpoch) || errors.Is(wrapped, Full) {
		t.Error("errors.Is does not tell kinds apart")
	}
	for k := range Kind(40) {
		if k.Error() == "" {
			t.Errorf("kind %d has no text", k)
		}
	}
}
