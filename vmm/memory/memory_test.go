package memory

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"splitvm/guest/layout"
)

const page = layout.PageSize

// newTest has RAM at [0, 4 pages) and [4, 6 pages) (adjacent) and [16, 18 pages).
func newTest(t *testing.T) *Memory {
	t.Helper()
	m, err := NewLocal([]layout.Range{{Start: 0, Size: 4 * page}, {Start: 4 * page, Size: 2 * page}, {Start: 16 * page, Size: 2 * page}})
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
	m := newTest(t)
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
