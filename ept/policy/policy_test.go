package policy

import (
	"slices"
	"testing"

	"splitvm/ept/excache"
)

func drain(p Policy) []excache.Line {
	var out []excache.Line
	for {
		l, ok := p.Victim()
		if !ok {
			return out
		}
		out = append(out, l)
	}
}

func TestFIFOOrder(t *testing.T) {
	f := &FIFO{}
	for l := range excache.Line(200) {
		f.Insert(l, Demand)
	}
	for i, l := range drain(f) {
		if l != excache.Line(i) {
			t.Fatalf("victim %d is line %d", i, l)
		}
	}
}

func TestFIFOSecondChance(t *testing.T) {
	f := &FIFO{}
	f.Insert(1, Returned)
	f.Insert(2, Demand)
	f.Insert(3, Ahead)
	if l, _ := f.Victim(); l != 2 {
		t.Fatalf("first victim is %d, want 2: line 1 has a second chance", l)
	}
	f.Again(2)
	if got, want := drain(f), []excache.Line{3, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("victims %v, want %v", got, want)
	}
}

// TestS3FIFOScan: a scan of twice the capacity leaves lines alone that had returned.
func TestS3FIFOScan(t *testing.T) {
	const capacity = 100
	s := NewS3FIFO(capacity)
	for l := range excache.Line(capacity / 2) {
		s.Insert(l, Returned)
	}
	for l := excache.Line(1000); l < 1000+2*capacity; l++ {
		s.Insert(l, Demand)
		for s.Len() > capacity {
			if v, _ := s.Victim(); v < 1000 {
				t.Fatalf("scan at line %d drove out line %d", l, v)
			}
		}
	}
}

func TestS3FIFOGhostReturns(t *testing.T) {
	s := NewS3FIFO(64)
	for l := range excache.Line(20) {
		s.Insert(l, Demand)
	}
	first, _ := s.Victim()
	s.Insert(first, Demand)
	if s.main.n != 1 {
		t.Errorf("line %d came back, and is not in the main queue", first)
	}
}

// TestEachLineLeavesOnce: whatever goes in comes out, once, for every policy.
func TestEachLineLeavesOnce(t *testing.T) {
	for _, name := range Names() {
		kind, err := ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		p := kind.New(50)
		resident := map[excache.Line]bool{}
		seed, again := uint64(1), uint64(1)
		for range 20000 {
			seed = seed*6364136223846793005 + 1442695040888963407
			l := excache.Line(seed >> 33 % 300)
			if !resident[l] {
				resident[l] = true
				p.Insert(l, Origin(seed>>20%3))
			}
			for len(resident) > 50 {
				v, ok := p.Victim()
				if !ok || !resident[v] {
					t.Fatalf("%s: victim %d, %v is not resident", name, v, ok)
				}
				if again = again*5 + 1; again>>13%8 == 0 {
					p.Again(v)
					continue
				}
				delete(resident, v)
			}
			if p.Len() != len(resident) {
				t.Fatalf("%s: Len() = %d with %d resident", name, p.Len(), len(resident))
			}
		}
		if n := len(drain(p)); n != len(resident) {
			t.Errorf("%s: %d victims left of %d resident", name, n, len(resident))
		}
	}
}

func TestByNameSaysWhichThereAre(t *testing.T) {
	if _, err := ByName("mru"); err == nil || err.Error() != `no eviction policy "mru": have fifo, lru, s3fifo` {
		t.Errorf("error %v", err)
	}
}
