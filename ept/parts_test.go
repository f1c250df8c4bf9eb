package ept

import (
	"testing"
	"time"

	"splitvm/ept/excache"
)

func TestHistogramQuantiles(t *testing.T) {
	var h Histogram
	for i := 1; i <= 10000; i++ {
		h.Observe(time.Duration(i) * time.Microsecond)
	}
	d := h.Snapshot()
	for _, q := range []float64{0.01, 0.5, 0.99, 0.999} {
		want := q * 1e7
		if got := float64(d.Quantile(q)); got < want || got > want*1.13 {
			t.Errorf("quantile %v is %v ns, want %v to 13 %% more", q, got, want)
		}
	}
	if d.Count != 10000 || d.Mean() != 5000500*time.Nanosecond {
		t.Errorf("count %d, mean %v", d.Count, d.Mean())
	}
	h.Observe(-1)
	h.Observe(1 << 62) // past the last bucket
}

func TestBudget(t *testing.T) {
	var b budget
	b.capacity.Store(2)
	if !b.take() || !b.take() || b.take() {
		t.Fatal("two credits, not more")
	}
	if !b.starve(job{line: 1}) || !b.starve(job{line: 2}) {
		t.Fatal("there is a credit where none is")
	}
	if j := b.release(1); len(j) != 1 || j[0].line != 1 || !j[0].credit {
		t.Errorf("a credit came back, and %+v goes on", j)
	}
	b.capacity.Store(1)
	if j := b.release(1); len(j) != 0 {
		t.Errorf("above the new capacity, and %+v goes on", j)
	}
	if j := b.release(1); len(j) != 1 || j[0].line != 2 {
		t.Errorf("a credit came back, and %+v goes on", j)
	}
}

func TestLayoutCutsRuns(t *testing.T) {
	m := Layout{RegionLines: 16, Shards: 2, Slots: []Slot{{GPA: 0, HVA: 0x100000, Size: 24 << 12}, {GPA: 32 << 12, HVA: 0x200000, Size: 16 << 12, Offset: 24 << 12}}}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	var got []run
	m.runs([]excache.Line{14, 15, 16, 17, 19, 22, 23, 32, 33}, func(r run) { got = append(got, r) })
	want := []run{{14, 2}, {16, 2}, {19, 1}, {22, 2}, {32, 2}}
	if len(got) != len(want) {
		t.Fatalf("runs %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("run %d is %v, want %v", i, got[i], want[i])
		}
	}
	for l := range excache.Line(48) {
		s := m.slotOf(l)
		if hole := l >= 24 && l < 32; (s == nil) != hole {
			t.Fatalf("line %d: slot %v", l, s)
		}
		if s != nil {
			if back, ok := m.lineAt(HVA(s.hva(l))); !ok || back != l {
				t.Errorf("line %d is at %#x, which is line %d", l, s.hva(l), back)
			}
		}
	}
}

func TestHealthPrefersWhoAnswers(t *testing.T) {
	var h peers
	h.add(nil, nil, nil)
	owners := []int{2, 0, 1}
	if o := h.order(owners, 0); o != 2 {
		t.Errorf("asks %d first, want 2", o)
	}
	h.suspect(2)
	if a, b := h.order(owners, 0), h.order(owners, 1); a != 0 || b != 1 {
		t.Errorf("asks %d, %d after 2 failed, want 0, 1", a, b)
	}
}
