package bus

import (
	"math"
	"testing"
)

type probe struct{ off, n uint64 }

func (d *probe) Read(off uint64, p []byte)  { d.off, d.n = off, uint64(len(p)); p[0] = 0x42 }
func (d *probe) Write(off uint64, p []byte) { d.off, d.n = off, uint64(len(p)) }

func TestRouting(t *testing.T) {
	var b Bus
	lo, hi := &probe{}, &probe{}
	must(t, b.Add(0x100, 0x10, lo))
	must(t, b.Add(math.MaxUint64-0xf, 0x10, hi))
	for _, c := range []struct {
		addr uint64
		n    int
		dev  *probe
		off  uint64
	}{
		{0x100, 4, lo, 0}, {0x10c, 4, lo, 0xc}, {0x10d, 4, nil, 0}, {0xff, 1, nil, 0}, {0x110, 1, nil, 0},
		{math.MaxUint64, 1, hi, 0xf}, {math.MaxUint64, 2, nil, 0}, {0, 8, nil, 0},
	} {
		p := make([]byte, c.n)
		got := b.Read(c.addr, p)
		if got != (c.dev != nil) {
			t.Fatalf("Read(%#x, %d) = %v", c.addr, c.n, got)
		}
		if c.dev == nil && p[c.n-1] != 0xff {
			t.Errorf("Read(%#x) of nothing gave %x, want all ones", c.addr, p)
		}
		if c.dev != nil && (c.dev.off != c.off || c.dev.n != uint64(c.n)) {
			t.Errorf("Read(%#x, %d) reached offset %#x, %d bytes", c.addr, c.n, c.dev.off, c.dev.n)
		}
		if b.Write(c.addr, p) != got {
			t.Errorf("Write(%#x) disagrees with Read", c.addr)
		}
	}
}

func TestAddRefusesOverlap(t *testing.T) {
	var b Bus
	must(t, b.Add(0x100, 0x100, &probe{}))
	for _, r := range [][2]uint64{{0x100, 1}, {0x1ff, 1}, {0, 0x101}, {0, 0x1000}, {0x150, 0x10}, {5, 0}, {math.MaxUint64, 2}} {
		if b.Add(r[0], r[1], &probe{}) == nil {
			t.Errorf("Add(%#x, %#x) was taken", r[0], r[1])
		}
	}
	must(t, b.Add(0, 0x100, &probe{}))
	must(t, b.Add(0x200, math.MaxUint64-0x1ff, &probe{}))
	must(t, b.Remove(0x100))
	if b.Remove(0x100) == nil {
		t.Error("Remove of nothing succeeded")
	}
	must(t, b.Add(0x180, 0x80, &probe{}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
