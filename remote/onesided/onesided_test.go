package onesided

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/remote"
)

// pair is a monitor's side and a client's.
type pair struct {
	*Index
	*Reader
	slab []byte
}

func newPair(t testing.TB, frames int) *pair {
	t.Helper()
	x, err := NewIndex()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	f, err := NewFile("test", frames*remote.LineSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	mem, err := unix.Mmap(int(f.Fd()), 0, frames*remote.LineSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	var files []*os.File
	for _, f := range []*os.File{f, x.File()} {
		r, err := ReadOnly(f)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		files = append(files, r)
	}
	r, err := Open(files[0], files[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return &pair{x, r, mem}
}

// frame is the memory of a frame.
func (p *pair) frame(f uint32) []byte {
	return p.slab[(f-1)*remote.LineSize : f*remote.LineSize]
}

// fill makes a frame's contents those of a number.
func fill(line []byte, n uint64) {
	for i := 0; i < len(line); i += 8 {
		binary.LittleEndian.PutUint64(line[i:], n)
	}
}

// number is what a line was filled with; false: with more than one.
func number(line []byte) (uint64, bool) {
	return binary.LittleEndian.Uint64(line), bytes.Equal(line[8:], line[:len(line)-8])
}

func (p *pair) add(t testing.TB, at remote.Owned, lines uint32) *Table {
	t.Helper()
	table, err := p.Add(at, lines)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestRead(t *testing.T) {
	p := newPair(t, 8)
	at := remote.Owned{VRegion: 7, Epoch: 3}
	table := p.add(t, at, 100)
	for f := range uint32(4) {
		fill(p.frame(f+1), uint64(f+1))
	}
	for l, f := range map[remote.Line]uint32{0: 3, 5: 1, 6: 2, 99: 4} {
		if old := table.Put(l, f); old != 0 || table.At(l) != f {
			t.Errorf("line %d: was in frame %d, is in %d, want %d", l, old, table.At(l), f)
		}
	}
	mem := bytes.Repeat([]byte{0xee}, 6*remote.LineSize)
	runs := []remote.Run{{First: 99, Count: 1}, {First: 4, Count: 4}, {First: 0, Count: 1}}
	zero, ok := p.Read(at, runs, [][]byte{mem[:2*remote.LineSize], mem[2*remote.LineSize:]})
	if !ok {
		t.Fatal("not read")
	}
	for i, want := range []uint64{4, 0, 1, 2, 0, 3} {
		got, whole := number(mem[i*remote.LineSize : (i+1)*remote.LineSize])
		if zero.Has(i) != (want == 0) || want != 0 && (got != want || !whole) || want == 0 && got != 0xeeeeeeeeeeeeeeee {
			t.Errorf("the %d-th line: zero %v, %#x, want %d", i, zero.Has(i), got, want)
		}
	}
	one := func(at remote.Owned, l remote.Line, n uint32) bool {
		_, ok := p.Read(at, []remote.Run{{First: l, Count: n}}, [][]byte{mem})
		return ok
	}
	other := p.add(t, remote.Owned{VRegion: 8, Epoch: 1}, 10)
	if !one(remote.Owned{VRegion: 8, Epoch: 1}, 1, 1) {
		t.Error("a second vRegion is not read")
	}
	for _, c := range []struct {
		what string
		at   remote.Owned
		line remote.Line
		n    uint32
	}{
		{"an empty run", at, 1, 0},
		{"beyond the end", at, 99, 2},
		{"a run that overflows", at, 1<<32 - 1, 2},
		{"an older epoch", remote.Owned{VRegion: 7, Epoch: 2}, 0, 1},
		{"a newer epoch", remote.Owned{VRegion: 7, Epoch: 4}, 0, 1},
		{"an unknown vRegion", remote.Owned{VRegion: 9, Epoch: 1}, 0, 1},
		{"none", remote.Owned{}, 0, 1},
	} {
		if one(c.at, c.line, c.n) {
			t.Errorf("%s was read", c.what)
		}
	}
	table.SetEpoch(4)
	if one(at, 0, 1) || !one(remote.Owned{VRegion: 7, Epoch: 4}, 0, 1) {
		t.Error("the new epoch is not the one that counts")
	}
	at.Epoch = 4
	table.Hide()
	if one(at, 0, 1) {
		t.Error("a vRegion that was deleted is read")
	}
	p.Remove(table)
	back := p.add(t, remote.Owned{VRegion: 8, Epoch: 9}, 10)
	if back.At(5) != 0 {
		t.Error("a new vRegion has lines of an old one")
	}
	// The second went away from one place and came back at another.
	other.Hide()
	back.Put(1, 2)
	if !one(remote.Owned{VRegion: 8, Epoch: 9}, 1, 1) {
		t.Error("a vRegion that has moved away and back is not read")
	}
	p.Reader.Close()
	if one(remote.Owned{VRegion: 8, Epoch: 9}, 1, 1) {
		t.Error("read from what is closed")
	}
}

// Readers see each line as it was at one instant, while frames go round and round, and
// vRegions come and go.
func TestReadWhileWritten(t *testing.T) {
	const lines, frames = 4, 6 // two frames are free: they are used again at once
	p := newPair(t, frames)
	var stop atomic.Bool
	var begun, done [lines]atomic.Uint64 // the newest contents that may be seen, and that must be
	var epoch atomic.Uint64
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stop.Store(true)
		rng := rand.New(rand.NewPCG(1, 1))
		n := uint64(0)
		for e := uint64(1); e <= 300; e++ {
			table := p.add(t, remote.Owned{VRegion: 5, Epoch: remote.Epoch(e)}, lines)
			free := []uint32{1, 2, 3, 4, 5, 6}
			for l := range remote.Line(lines) {
				begun[l].Store(1 << 62)
				done[l].Store(0)
			}
			epoch.Store(e)
			for range 400 {
				l := remote.Line(rng.IntN(lines))
				f := free[0]
				n++
				fill(p.frame(f), n)
				begun[l].Store(n)
				old := table.Put(l, f)
				done[l].Store(n)
				if free = free[1:]; old != 0 {
					free = append(free, old)
				}
			}
			epoch.Store(0)
			table.Hide()
			p.Remove(table)
		}
	})
	var read, refused atomic.Uint64
	for r := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(r)))
			mem := make([]byte, remote.LineSize)
			for !stop.Load() {
				l := rng.IntN(lines)
				at := remote.Owned{VRegion: 5, Epoch: remote.Epoch(epoch.Load())}
				least := done[l].Load()
				zero, ok := p.Read(at, []remote.Run{{First: remote.Line(l), Count: 1}}, [][]byte{mem})
				if !ok {
					refused.Add(1)
					continue
				}
				most, now := begun[l].Load(), epoch.Load()
				read.Add(1)
				got, whole := number(mem)
				if zero.Has(0) {
					got, whole = 0, true
				}
				if !whole {
					t.Errorf("line %d is torn", l)
					return
				}
				if remote.Epoch(now) == at.Epoch && (got < least || got > most) {
					t.Errorf("line %d has %d, want %d to %d", l, got, least, most)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d lines read, %d times refused", read.Load(), refused.Load())
	if read.Load() < 1000 || refused.Load() == 0 {
		t.Error("the test is too weak")
	}
}

// A monitor may write anything into the files, at any time.
func FuzzReader(f *testing.F) {
	f.Add(uint64(7), uint64(1), uint64(100), uint64(1), uint64(1))
	f.Add(uint64(7), uint64(1), uint64(1)<<63, uint64(1)<<62, uint64(1)<<32-1)
	p := newPair(f, 4)
	at := remote.Owned{VRegion: 7, Epoch: 1}
	p.add(f, at, 100)
	mem := make([]byte, 4*remote.LineSize)
	f.Fuzz(func(t *testing.T, id, epoch, lines, used, entry uint64) {
		d := &p.Index.directory[0]
		d.id.Store(id)
		d.epoch.Store(epoch)
		d.lines.Store(lines)
		p.Index.used.Store(used)
		for l := range 4 {
			p.Index.layout.entries(0)[l].Store(entry + uint64(l))
		}
		if _, ok := p.Read(at, []remote.Run{{Count: 4}}, [][]byte{mem}); ok && (id != 7 || epoch != 1 || lines < 4) {
			t.Error("read what is not there")
		}
	})
}

// A client can't write into what it is given, nor make it shorter.
func TestReadOnly(t *testing.T) {
	f, err := NewFile("test", remote.LineSize)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := ReadOnly(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if m, err := unix.Mmap(int(r.Fd()), 0, remote.LineSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		unix.Munmap(m)
		t.Error("mapped for writing")
	}
	if err := f.Truncate(0); err == nil {
		t.Error("made shorter")
	}
	plain, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := Open(plain, plain); err == nil {
		t.Error("opened a file that may shrink")
	}
	if _, err := Open(r, r); err == nil {
		t.Error("opened an index of another size")
	}
}
