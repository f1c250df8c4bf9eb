package prefetch

import (
	"math/rand/v2"
	"testing"

	"splitvm/ept/excache"
)

// guest plays a guest with an ExCache that forgets nothing: it faults on lines
// that were not brought yet, and on marks. It counts.
type guest struct {
	p       Prefetcher
	mapped  map[excache.Line]bool
	held    map[excache.Line]bool
	brought map[excache.Line]bool
	faults  int
	wasted  int // brought, and not used so far
}

func newGuest(p Prefetcher) *guest {
	return &guest{p: p, mapped: map[excache.Line]bool{}, held: map[excache.Line]bool{}, brought: map[excache.Line]bool{}}
}

func (g *guest) touch(l excache.Line) {
	if g.brought[l] {
		delete(g.brought, l)
		g.wasted--
	}
	if g.mapped[l] {
		return
	}
	if g.held[l] {
		delete(g.held, l)
		g.p.Feedback(true)
	}
	g.faults++
	g.mapped[l] = true
	a := g.p.Fault(l, false, MaxWindow)
	for i := range a.Count {
		n, ok := a.At(i)
		if !ok || g.mapped[n] || g.held[n] {
			continue
		}
		g.brought[n] = true
		g.wasted++
		if i == a.Mark {
			g.held[n] = true
		} else {
			g.mapped[n] = true
		}
	}
}

func TestStreams(t *testing.T) {
	for _, c := range []struct {
		name      string
		prefetch  string
		stride    int64
		streams   int
		maxFaults int // of 4096 touches in all
	}{
		{"rising", "majority", 1, 1, 80},
		{"falling", "majority", -1, 1, 80},
		{"strided", "majority", 7, 1, 80},
		{"far strides", "majority", 300, 1, 120},
		{"four at once", "majority", 1, 4, 200},
		{"four strided at once", "majority", 3, 4, 200},
		{"falling and far", "majority", -512, 1, 120},
		{"rising", "sequential", 1, 1, 60},
	} {
		t.Run(c.prefetch+" "+c.name, func(t *testing.T) {
			p, err := ByName(c.prefetch)
			if err != nil {
				t.Fatal(err)
			}
			g := newGuest(p)
			for i := range int64(4096 / c.streams) {
				for s := range int64(c.streams) {
					g.touch(excache.Line(1<<24*(s+1) + 1<<22 + i*c.stride))
				}
			}
			if g.faults > c.maxFaults {
				t.Errorf("%d faults, want at most %d", g.faults, c.maxFaults)
			}
			if g.wasted > 2*MaxWindow*c.streams {
				t.Errorf("%d lines brought for nothing", g.wasted)
			}
		})
	}
}

// TestRandomAccess: without a trend next to nothing is brought.
func TestRandomAccess(t *testing.T) {
	g := newGuest(NewTrend())
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		g.touch(excache.Line(rng.IntN(1 << 20)))
	}
	if g.wasted > 500 {
		t.Errorf("%d lines brought for 10000 random touches", g.wasted)
	}
}

// TestFeedback: wrong guesses make windows short, right ones long again.
func TestFeedback(t *testing.T) {
	p := NewTrend()
	for range 10 {
		p.Feedback(false)
	}
	longest := func() int {
		n := 0
		for l := excache.Line(0); l < 2000; l++ {
			n = max(n, p.Fault(l, false, MaxWindow).Count)
		}
		return n
	}
	if n := longest(); n != minLimit {
		t.Errorf("after wrong guesses windows have up to %d lines, want %d", n, minLimit)
	}
	for range 10 {
		p.Feedback(true)
	}
	if n := longest(); n != MaxWindow {
		t.Errorf("after right guesses windows have up to %d lines, want %d", n, MaxWindow)
	}
}

// TestWriteIsPassedOn: a stream of writes asks for writable lines.
func TestWriteIsPassedOn(t *testing.T) {
	p := NewTrend()
	var a Advice
	for l := excache.Line(100); a.Count == 0 && l < 110; l++ {
		a = p.Fault(l, true, MaxWindow)
	}
	if a.Count == 0 || !a.Write {
		t.Errorf("advice %+v, want one for writes", a)
	}
}

func FuzzFault(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, moves []byte) {
		for _, name := range Names() {
			p, _ := ByName(name)
			l := int64(1 << 20)
			for _, m := range moves {
				l = min(max(l+int64(int8(m))*int64(int8(m)), 0), excache.MaxLines-1)
				a := p.Fault(excache.Line(l), m&1 != 0, int(m))
				if a.Count < 0 || a.Count > min(MaxWindow, int(m)) || a.Count > 0 && (a.Mark < 0 || a.Mark >= a.Count || a.Stride == 0) {
					t.Fatalf("%s: advice %+v", name, a)
				}
				p.Feedback(m&2 != 0)
			}
		}
	})
}
