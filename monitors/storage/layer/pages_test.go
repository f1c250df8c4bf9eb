package layer

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// cutShort is a file some of whose writes store a part, and fail.
type cutShort struct {
	File
	left  atomic.Int64 // writes until the next one that fails
	reads atomic.Int64
}

var errCutShort = errors.New("write cut short")

func (f *cutShort) WriteAt(p []byte, off int64) (int, error) {
	if f.left.Add(-1) != 0 {
		return f.File.WriteAt(p, off)
	}
	n, _ := f.File.WriteAt(p[:len(p)/2/entrySize*entrySize], off)
	return n, errCutShort
}

func (f *cutShort) ReadAt(p []byte, off int64) (int, error) {
	f.reads.Add(1)
	return f.File.ReadAt(p, off)
}

// wide is a layer with more stripes than there are places for, the last one short.
func wide(t *testing.T) (*Layer, *cutShort) {
	const blocks = 3*maxPages*stripeSize + 10
	dir := t.TempDir()
	if err := Create(dir, 7, blocks, 0); err != nil {
		t.Fatal(err)
	}
	files, err := openFiles(filepath.Join(dir, ID(7).String()), false)
	if err != nil {
		t.Fatal(err)
	}
	m := &cutShort{File: files.Map}
	files.Map = m
	l, err := OpenFiles(files, 7, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, m
}

// TestPages: blocks whose entries have to share places in memory are what was
// written last, also after a write to the map failed and was done again.
func TestPages(t *testing.T) {
	l, m := wide(t)
	var first []uint64 // of the stripes in use: three each at three places
	for _, at := range []uint64{0, 1, maxPages - 1} {
		for i := range uint64(3) {
			first = append(first, (i*maxPages+at)*stripeSize)
		}
	}
	first = append(first, 3*maxPages*stripeSize)
	var wg sync.WaitGroup
	for w, start := range first {
		wg.Go(func() { useStripe(t, l, m, start, rand.New(rand.NewPCG(3, uint64(w)))) })
	}
	wg.Wait()
}

func useStripe(t *testing.T, l *Layer, m *cutShort, start uint64, rng *rand.Rand) {
	const blocks = 8
	buf := make([]byte, blocks*BlockSize)
	var values [blocks]uint64
	for step := range uint64(400) {
		at := rng.Uint64N(blocks)
		n := 1 + rng.Uint64N(blocks-at)
		if rng.IntN(2) == 0 {
			for i := at; i < at+n; i++ {
				values[i] = step + 1
				fill(buf[(i-at)*BlockSize:][:BlockSize], start+i, values[i])
			}
			if rng.IntN(8) == 0 {
				m.left.Store(1)
			}
			err := l.Write(start+at, buf[:n*BlockSize])
			for ; errors.Is(err, errCutShort); err = l.Write(start+at, buf[:n*BlockSize]) {
				if l.pages.find(start/stripeSize) != nil {
					t.Error("what is in memory outlives a write of nobody knows how much")
				}
			}
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err := l.Read(start+at, buf[:n*BlockSize], false, Zeroes); err != nil {
			t.Error(err)
		}
		for i := at; i < at+n; i++ {
			if v, ok := valueOf(buf[(i-at)*BlockSize:][:BlockSize], start+i); !ok || v != values[i] {
				t.Errorf("block %d is %d (%v), want %d", start+i, v, ok, values[i])
			}
		}
	}
}

// TestPagesKept: what is used again is not read again from the map, and what is
// used once does not take the place of what is used often.
func TestPagesKept(t *testing.T) {
	l, m := wide(t)
	buf := make([]byte, BlockSize)
	read := func(stripe uint64) (calls int64) {
		was := m.reads.Load()
		if err := l.Read(stripe*stripeSize, buf, false, Zeroes); err != nil {
			t.Fatal(err)
		}
		return m.reads.Load() - was
	}
	for i, c := range []struct {
		stripe uint64
		calls  int64
	}{
		{5, 1}, {5, 0}, {5 + maxPages, 1}, {5, 0}, {5 + 2*maxPages, 1}, {5, 0}, // one after the other in vain
		{5 + 2*maxPages, 1}, {5 + 2*maxPages, 0}, {5, 1}, {6, 1}, {6, 0},
	} {
		if calls := read(c.stripe); calls != c.calls {
			t.Errorf("%d: stripe %d: %d reads of the map, want %d", i, c.stripe, calls, c.calls)
		}
	}
}
