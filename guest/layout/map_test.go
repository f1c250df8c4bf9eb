package layout

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustMap(t *testing.T, size uint64) Map {
	t.Helper()
	m, err := New(size)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRAM(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		name string
		size uint64
		want []Range
		bits int
	}{
		{"smallest", MinRAM, []Range{{0, MinRAM}}, 32},
		{"just below the hole", 3*gib - PageSize, []Range{{0, 3*gib - PageSize}}, 32},
		{"up to the hole", 3 * gib, []Range{{0, 3 * gib}}, 32},
		{"one page above", 3*gib + PageSize, []Range{{0, 3 * gib}, {4 * gib, PageSize}}, 33},
		{"4 GiB", 4 * gib, []Range{{0, 3 * gib}, {4 * gib, gib}}, 33},
		{"63 GiB fill 36 bits", 63 * gib, []Range{{0, 3 * gib}, {4 * gib, 60 * gib}}, 36},
		{"1 TiB", MaxRAM, []Range{{0, 3 * gib}, {4 * gib, 1021 * gib}}, 41},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mustMap(t, tt.size)
			if diff := cmp.Diff(tt.want, m.RAM()); diff != "" {
				t.Error(diff)
			}
			var total uint64
			for _, r := range m.RAM() {
				total += r.Size
			}
			if total != m.Size() {
				t.Errorf("ranges add up to %d of %d bytes", total, m.Size())
			}
			if got := m.PhysBits(); got != tt.bits {
				t.Errorf("PhysBits = %d, want %d", got, tt.bits)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, size := range []uint64{0, PageSize, MinRAM - PageSize, MinRAM + 1, MaxRAM + PageSize, 1 << 63, ^uint64(0)} {
		if m, err := New(size); !errors.Is(err, ErrSize) {
			t.Errorf("New(%#x) = %v, %v, want ErrSize", size, m, err)
		}
	}
}

func TestContains(t *testing.T) {
	m := mustMap(t, 4<<30)
	for _, tt := range []struct {
		a    GPA
		n    uint64
		want bool
	}{
		{0, 0, true},
		{0, 3 << 30, true},
		{0, 3<<30 + 1, false},
		{LowRAMEnd - 1, 1, true},
		{LowRAMEnd - 1, 2, false},
		{LowRAMEnd, 1, false},
		{HighRAMStart, 1 << 30, true},
		{HighRAMStart, 1<<30 + 1, false},
		{HighRAMStart + 1, ^uint64(0), false},
		{^GPA(0), 1, false},
		{^GPA(0), ^uint64(0), false},
	} {
		if got := m.Contains(tt.a, tt.n); got != tt.want {
			t.Errorf("Contains(%#x, %#x) = %v", tt.a, tt.n, got)
		}
	}
	if (Map{}).Contains(0, 1) {
		t.Error("the zero Map has RAM")
	}
}

// The map that the guest is told is sorted, has no overlap, calls nothing RAM
// that is not backed or that a device answers, and all the rest of RAM is told.
func TestE820(t *testing.T) {
	windows := []Range{
		{PCIWindowStart, PCIWindowSize}, {ECAMStart, ECAMSize}, {IOAPICAddr, PageSize}, {LAPICAddr, PageSize},
		{KVMIdentityMap, 4 * PageSize}, {EBDAStart, uint64(HighMemory - EBDAStart)},
	}
	for _, size := range []uint64{MinRAM, 64 << 20, 3 << 30, 3<<30 + PageSize, 64 << 30, MaxRAM} {
		m := mustMap(t, size)
		var last GPA
		var ram uint64
		for _, e := range m.E820() {
			if e.Start < last || e.Size == 0 {
				t.Errorf("%d MiB: %#x %v overlaps, is empty or is out of order", size>>20, e.Range, e.Type)
			}
			last = e.End()
			if e.Type != E820RAM {
				continue
			}
			ram += e.Size
			if !m.Contains(e.Start, e.Size) {
				t.Errorf("%d MiB: %#x is called RAM and is not backed", size>>20, e.Range)
			}
			for _, w := range windows {
				if e.Start < w.End() && w.Start < e.End() {
					t.Errorf("%d MiB: %#x is called RAM and overlaps %#x", size>>20, e.Range, w)
				}
			}
		}
		if want := size - uint64(HighMemory-EBDAStart); ram != want {
			t.Errorf("%d MiB: %#x bytes of RAM told, want %#x", size>>20, ram, want)
		}
	}
}

func TestE820Golden(t *testing.T) {
	want := []E820Entry{
		{Range{0, 0x9FC00}, E820RAM},
		{Range{0x9FC00, 0x400}, E820Reserved},
		{Range{0xE0000, 0x20000}, E820Reserved},
		{Range{0x100000, 0xBFF00000}, E820RAM},
		{Range{0xE0000000, 0x100000}, E820Reserved},
		{Range{0xFFFBC000, 0x4000}, E820Reserved},
		{Range{0x100000000, 0x40000000}, E820RAM},
	}
	if diff := cmp.Diff(want, mustMap(t, 4<<30).E820()); diff != "" {
		t.Error(diff)
	}
}

// The areas of the first MiB do not run into each other.
func TestFirstMiB(t *testing.T) {
	areas := []Range{
		{BDAStart, 0x100}, {BootGDT, 0x40}, {PVHInfo, 0x1000}, {PVHMemMap, 0x1000}, {ZeroPage, PageSize}, {SetupData, PageSize},
		{Cmdline, CmdlineMax}, {PageTables, PageTablesMax}, {EBDAStart, 0x400}, {ACPITables, ACPIMax}, {MPTable, MPTableMax},
	}
	var last GPA
	for _, a := range areas {
		if a.Start < last || a.End() > HighMemory {
			t.Errorf("area %#x starts before %#x or ends after 1 MiB", a, last)
		}
		last = a.End()
	}
}
