package boot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"splitvm/guest/layout"
)

// journal notes what is written where.
type journal struct {
	ram
	log []string
}

func (j *journal) WriteAt(p []byte, gpa layout.GPA) error {
	j.log = append(j.log, fmt.Sprintf("%#x+%#x", gpa, len(p)))
	return j.ram.WriteAt(p, gpa)
}

// filling can read files itself.
type filling struct{ journal }

func (f *filling) Fill(gpa layout.GPA, file *os.File, off int64, n uint64) error {
	f.log = append(f.log, fmt.Sprintf("fill %#x+%#x from %#x", gpa, n, off))
	_, err := file.ReadAt(f.bytes[gpa:uint64(gpa)+n], off)
	return err
}

// Pages of zeroes are not written, wherever in the data they are; all else is.
func TestZeroPagesStayUntouched(t *testing.T) {
	const page = layout.PageSize
	for _, tt := range []struct {
		name string
		gpa  layout.GPA
		data []byte
		want []string
	}{
		{"nothing", 0, nil, nil},
		{"only zeroes", 0x1000, make([]byte, 3*page), nil},
		{"a byte", 0x1234, []byte{1}, []string{"0x1234+0x1"}},
		{"zeroes in the middle", 0x1000, slice(5*page, 0, 4*page), []string{"0x1000+0x1000", "0x5000+0x1000"}},
		{"a page less one byte of zeroes", 0x1000, slice(2*page, 0, 2*page-1), []string{"0x1000+0x2000"}},
		{"neighbours together", 0x1000, slice(4*page, page, 2*page), []string{"0x2000+0x2000"}},
		{"guest pages count, not the data's", 0x1800, slice(2*page, page), []string{"0x2000+0x1000"}},
		{"part of a page at the end", 0x1000, slice(page+10, 5, page+3), []string{"0x1000+0x100a"}},
		{"zeroes at the end", 0x1000, slice(page+10, 5), []string{"0x1000+0x1000"}},
	} {
		j := &journal{ram: ram{bytes: make([]byte, 16*page)}}
		if err := writeNonzero(j, tt.data, tt.gpa); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, j.log); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if !bytes.Equal(j.bytes[tt.gpa:int(tt.gpa)+len(tt.data)], tt.data) {
			t.Errorf("%s: RAM differs", tt.name)
		}
	}
}

// slice is n zeroes with a 1 at each of the offsets.
func slice(n int, at ...int) []byte {
	b := make([]byte, n)
	for _, i := range at {
		b[i] = 1
	}
	return b
}

// A kernel in a file is read through a buffer, an initrd straight into RAM.
func TestPlaceFiles(t *testing.T) {
	kernel, initrd := testKernel(), noise(9000, 5)
	open := func(name string, b []byte) *os.File {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	img := kernel.build(t)
	m := testMap(t, 64<<20)
	plan, err := Load(open("vmlinux", img), int64(len(img)), Params{Memory: m, Initrd: open("initrd", initrd), InitrdSize: 9000})
	if err != nil {
		t.Fatal(err)
	}
	f := &filling{journal{ram: ram{bytes: make([]byte, m.Size())}}}
	if err := plan.Place(f); err != nil {
		t.Fatal(err)
	}
	checkParts(t, f.bytes, kernel.parts)
	if !bytes.Equal(f.bytes[64<<20-0x3000:][:9000], initrd) {
		t.Error("initrd differs")
	}
	var fills []string
	for _, l := range f.log {
		if l[0] == 'f' {
			fills = append(fills, l)
		}
	}
	if diff := cmp.Diff([]string{"fill 0x3ffd000+0x2328 from 0x0"}, fills); diff != "" {
		t.Error(diff)
	}
}

// The payload is decompressed once, for headers and segments together, whatever
// the order of the segments' addresses.
func TestForwardOnly(t *testing.T) {
	kernel := testKernel()
	kernel.parts[0], kernel.parts[1] = kernel.parts[1], kernel.parts[0]         // addresses descend
	img := bzSpec{payload: compressors[0].payload(t, kernel.build(t))}.build(t) // in chunks
	b, err := openBzImage(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	open := b.source.open
	b.source.open = func() (chunks, error) { opened++; return open() }
	m := testMap(t, 64<<20)
	plan, err := b.plan(&Params{Memory: m})
	if err != nil {
		t.Fatal(err)
	}
	mem := &ram{bytes: make([]byte, m.Size())}
	if err := plan.Place(mem); err != nil {
		t.Fatal(err)
	}
	checkParts(t, mem.bytes, kernel.parts)
	if opened != 0 {
		t.Errorf("the payload was started %d times again", opened)
	}
	if b.source.cur != nil {
		t.Error("the decompressor is kept after Place")
	}
}

// A plan that is not placed leaves no goroutine behind, nor does a failure to
// make one.
func TestNothingRunsWithoutPlace(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, c := range compressors {
		img := bzSpec{payload: c.payload(t, testKernel().build(t))}.build(t)
		for _, size := range []uint64{64 << 20, 8 << 20} {
			if _, err := Load(bytes.NewReader(img), int64(len(img)), Params{Memory: testMap(t, size)}); (err == nil) != (size > 16<<20) {
				t.Errorf("%s with %d MiB: %v", c.name, size>>20, err)
			}
		}
	}
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) { // those that were told to end may need a moment
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// What memory refuses is said, with the segment.
func TestPlaceFails(t *testing.T) {
	img := bzSpec{payload: compressors[1].payload(t, testKernel().build(t))}.build(t)
	plan, err := Load(bytes.NewReader(img), int64(len(img)), Params{Memory: testMap(t, 64<<20)})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no memory")
	err = plan.Place(failing{broken})
	if !errors.Is(err, broken) || !bytes.Contains([]byte(err.Error()), []byte("place ")) {
		t.Errorf("error %v", err)
	}
}

type failing struct{ err error }

func (f failing) WriteAt([]byte, layout.GPA) error { return f.err }
