package memory

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"splitvm/guest/layout"
)

const page = layout.PageSize

// newTest has RAM at [0, 4 pages) and [4, 6 pages) (adjacent) and [16, 18 pages).
func newTest(t *testing.T) *Memory { return newOf(t, NewLocal) }

func newOf(t *testing.T, kind func([]layout.Range) (*Memory, error)) *Memory {
	t.Helper()
	m, err := kind([]layout.Range{{Start: 0, Size: 4 * page}, {Start: 4 * page, Size: 2 * page}, {Start: 16 * page, Size: 2 * page}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestBulkRoundTripAcrossRegions(t *testing.T) {
	t.Run("local", func(t *testing.T) { roundTrip(t, newOf(t, NewLocal)) })
	t.Run("private", func(t *testing.T) { roundTrip(t, newOf(t, NewPrivate)) })
}

func roundTrip(t *testing.T, m *Memory) {
	want := make([]byte, 5*page+17)
	rand.Read(want)
	if err := m.WriteAt(want, 100); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if err := m.ReadAt(got, 100); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what was read is not what was written")
	}
	if v, err := m.Load8(100 + 4*page); err != nil || v != want[4*page] {
		t.Errorf("Load8 = %#x, %v, want %#x", v, err, want[4*page])
	}
}

// A huge page of the host serves as one of the guest's only where both
// addresses agree below its size, and only where one was asked for.
func TestPrivateFitsHugePages(t *testing.T) {
	m, err := NewPrivate([]layout.Range{{Start: 0, Size: 3*layout.Page2M + page}, {Start: layout.Page1G + 5*page, Size: 8 * page}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, r := range m.Regions() {
		if (uint64(r.HostAddr())^uint64(r.GPA))%layout.Page2M != 0 || len(r.host) != int(r.Size) {
			t.Errorf("RAM at %#x is mapped at %#x, %#x bytes", r.GPA, r.HostAddr(), len(r.host))
		}
	}
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this kernel has no huge pages to give: CONFIG_TRANSPARENT_HUGEPAGE")
	}
	for _, r := range m.Regions() {
		if flags := flagsAt(t, r.HostAddr()); !slices.Contains(flags, "hg") {
			t.Errorf("the mapping of RAM at %#x asks for no huge pages: flags %v", r.GPA, flags)
		}
	}
}

// flagsAt returns the VmFlags of the mapping at an address (proc(5), smaps).
func flagsAt(t *testing.T, addr uintptr) []string {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	here := false
	for line := range strings.Lines(string(smaps)) {
		var start, end uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &start, &end); n == 2 {
			here = start <= addr && addr < end
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && here {
			return strings.Fields(flags)
		}
	}
	t.Fatalf("nothing is mapped at %#x", addr)
	return nil
}

func TestBounds(t *testing.T) {
	m := newTest(t)
	for _, c := range []struct {
		gpa layout.GPA
		n   uint64
		in  bool
	}{
		{0, 6 * page, true}, {0, 6*page + 1, false}, {6*page - 1, 1, true}, {6 * page, 1, false}, {15 * page, 2 * page, false},
		{16 * page, 2 * page, true}, {17*page + 1, page, false}, {math.MaxUint64, 1, false}, {math.MaxUint64, 2, false},
		{16, math.MaxUint64, false}, {16 * page, math.MaxUint64 - 16*page, false}, {0, 0, true}, {6 * page, 0, false},
	} {
		if got := m.Contains(c.gpa, c.n); got != c.in {
			t.Errorf("Contains(%#x, %#x) = %v", c.gpa, c.n, got)
		}
		if _, err := m.Slices(c.gpa, c.n); (err == nil) != c.in || err != nil && !errors.Is(err, ErrOutside) {
			t.Errorf("Slices(%#x, %#x): %v", c.gpa, c.n, err)
		}
	}
	before := make([]byte, 6*page)
	if err := m.WriteAt(bytes.Repeat([]byte{1}, 7*page), 0); !errors.Is(err, ErrOutside) {
		t.Errorf("WriteAt past the end: %v", err)
	}
	got := make([]byte, 6*page)
	if err := m.ReadAt(got, 0); err != nil || !bytes.Equal(got, before) {
		t.Errorf("a refused write left something behind (%v)", err)
	}
	if _, err := m.Window(3*page+8, page); !errors.Is(err, ErrOutside) {
		t.Errorf("Window across regions: %v", err)
	}
	if err := m.Store32(6*page-2, 1); !errors.Is(err, ErrOutside) {
		t.Errorf("Store32 past the end: %v", err)
	}
}

func TestWords(t *testing.T) {
	m := newTest(t)
	must(t, m.Store64(0x40, 0x8877665544332211))
	for i, want := range []uint64{0x11, 0x2211, 0x44332211, 0x8877665544332211} {
		var got uint64
		var err error
		switch i {
		case 0:
			var v uint8
			v, err = m.Load8(0x40)
			got = uint64(v)
		case 1:
			var v uint16
			v, err = m.Load16(0x40)
			got = uint64(v)
		case 2:
			var v uint32
			v, err = m.Load32(0x40)
			got = uint64(v)
		case 3:
			got, err = m.Load64(0x40)
		}
		if err != nil || got != want {
			t.Errorf("load of %d bytes: %#x, %v, want %#x", 1<<i, got, err, want)
		}
	}
	must(t, m.Store8(0x40, 0xaa))
	must(t, m.Store16(0x42, 0xbbbb))
	must(t, m.Store32(0x44, 0xcccccccc))
	if v, _ := m.Load64(0x40); v != 0xccccccccbbbb22aa {
		t.Errorf("after narrow stores: %#x", v)
	}
}

func TestFill(t *testing.T) {
	m := newTest(t)
	want := make([]byte, 2*page)
	rand.Read(want)
	name := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(name, want, 0o600))
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	must(t, m.Fill(3*page, f, 0, 2*page))
	got := make([]byte, 2*page)
	must(t, m.ReadAt(got, 3*page))
	if !bytes.Equal(got, want) {
		t.Error("RAM differs from the file")
	}
	if err := m.Fill(0, f, page, 2*page); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Fill from a file that ends early: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(8*page))
	for name, b := range map[string][]Backing{
		"overlap":   {{GPA: 0, Size: 2 * page, File: f}, {GPA: page, Size: page, File: f}},
		"unaligned": {{GPA: 1, Size: page, File: f}},
		"empty":     {{GPA: 0, Size: 0, File: f}},
		"wraps":     {{GPA: 1<<64 - page, Size: 2 * page, File: f}},
	} {
		if m, err := New(b); err == nil {
			m.Close()
			t.Errorf("%s: New took it", name)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
