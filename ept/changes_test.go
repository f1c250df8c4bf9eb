package ept

import (
	"context"
	"errors"
	"testing"
	"time"

	"splitvm/ept/excache"
	"splitvm/remote"
)

var twoRegions = &Layout{RegionLines: 64, Shards: 1, Slots: []Slot{{HVA: 1 << 20, Size: 128 << 12}}}

// TestChangesMarkWhatMoves: what a change touched is stale when it has ended, in the
// vRegion that moves and in no other.
func TestChangesMarkWhatMoves(t *testing.T) {
	c := changes{move: &move{region: 1, stale: newLineSet(64)}}
	for _, region := range []int{0, 1} {
		if err := c.begin(t.Context(), region); err != nil {
			t.Fatal(err)
		}
	}
	c.end(twoRegions, []excache.Line{1, 63, 64, 70})
	if s := c.move.stale; s.count() != 2 || !s.has(0) || !s.has(6) {
		t.Errorf("stale lines %b, want 0 and 6", s)
	}
	if len(c.under) != 0 {
		t.Errorf("under way: %v", c.under)
	}
}

// TestShut: no change of the vRegion begins while it is shut, others do, and shut
// returns when those are over that had begun.
func TestShut(t *testing.T) {
	c := changes{move: &move{region: 1, stale: newLineSet(64)}}
	if err := c.begin(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.shut(ended); !errors.Is(err, context.Canceled) {
		t.Fatalf("shut with a change under way, and then: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- c.shut(t.Context()) }()
	c.end(twoRegions, []excache.Line{64})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := c.begin(t.Context(), 0); err != nil {
		t.Errorf("another vRegion: %v", err)
	}
	if err := c.begin(ended, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a change began while its vRegion was shut: %v", err)
	}
	go func() { done <- c.begin(t.Context(), 1) }()
	c.over()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("a change waits for a move that is over")
	}
}

func TestLineSet(t *testing.T) {
	s, but := newLineSet(130), newLineSet(130)
	for _, l := range []remote.Line{0, 63, 64, 129} {
		s.set(l)
	}
	but.set(64)
	var got []remote.Line
	for l, ok := s.next(0, but); ok; l, ok = s.next(l+1, but) {
		got = append(got, l)
		if l == 129 {
			break
		}
	}
	if len(got) != 3 || got[0] != 0 || got[1] != 63 || got[2] != 129 || s.count() != 4 {
		t.Errorf("lines %v of %d, want 0, 63 and 129 of 4", got, s.count())
	}
	if _, ok := s.next(130, but); ok {
		t.Error("a line beyond the last")
	}
	if s.clear(0); s.has(0) {
		t.Error("line 0 is still there")
	}
}
