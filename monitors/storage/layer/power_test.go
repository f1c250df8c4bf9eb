package layer

import (
	"bytes"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
)

const sector = 512

// event is something that happened to a file of a recording, or that a test
// notes in it.
type event struct {
	file  int // -1: a note
	kind  eventKind
	off   int64
	data  []byte // of a write; nil of a punch
	n     int64
	block uint64
	value uint64
}

type eventKind uint8

const (
	written eventKind = iota
	syncBegun
	syncEnded
	writeBegun
	writeEnded
	flushBegun
	flushEnded
)

// recording is three files in memory and all that was done to them, in order.
// Power can be cut after any of it.
type recording struct {
	mu     sync.Mutex
	events []event // guarded by mu
	files  [3]*memFile
	base   [3][]byte // contents at the start, durable
}

func (r *recording) note(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func newRecording(base [3][]byte) *recording {
	r := &recording{base: base}
	for i := range r.files {
		r.files[i] = &memFile{r: r, index: i, data: bytes.Clone(base[i])}
	}
	return r
}

func (r *recording) open() Files { return Files{r.files[0], r.files[1], r.files[2]} }

// kill returns the files as a process that is killed after event k leaves them.
func (r *recording) kill(k int) [3][]byte {
	var out [3][]byte
	for i := range out {
		out[i] = bytes.Clone(r.base[i])
	}
	for _, e := range r.events[:k] {
		if e.file >= 0 && e.kind == written {
			apply(out[e.file], e)
		}
	}
	return out
}

func apply(f []byte, e event) {
	if e.data == nil {
		clear(f[e.off:min(e.off+e.n, int64(len(f)))])
		return
	}
	copy(f[e.off:], e.data)
}

// cut returns the files as a loss of power after event k may leave them: of each
// sector, what was there when the last sync that has ended began, or something
// later.
func (r *recording) cut(k int, rng *rand.Rand) [3][]byte {
	var out [3][]byte
	for i := range out {
		out[i] = r.cutFile(k, i, rng)
	}
	return out
}

func (r *recording) cutFile(k, file int, rng *rand.Rand) []byte {
	f := bytes.Clone(r.base[file])
	sure := 0 // events up to here are durable
	begun := map[uint64]int{}
	for i, e := range r.events[:k] {
		if e.file == file && e.kind == syncBegun {
			begun[e.value] = i
		}
		if e.file == file && e.kind == syncEnded {
			sure = max(sure, begun[e.value])
		}
	}
	luck := rng.Float64() // how much made it, this time
	fate := map[int64]bool{}
	for i, e := range r.events[:k] {
		if e.file != file || e.kind != written {
			continue
		}
		if i < sure {
			apply(f, e)
			continue
		}
		n := e.n
		for off := e.off; off < e.off+n; {
			end := min((off/sector+1)*sector, e.off+n)
			// A sector's fate may change with each write of it: an older one made it,
			// a newer one did not.
			if fate[off/sector] = rng.Float64() < luck; fate[off/sector] {
				part := event{off: off, n: end - off}
				if e.data != nil {
					part.data = e.data[off-e.off : end-e.off]
				}
				apply(f, part)
			}
			off = end
		}
	}
	return f
}

// memFile is a File of a recording.
type memFile struct {
	r     *recording
	index int
	mu    sync.RWMutex
	data  []byte // guarded by mu
	syncs uint64 // guarded by r.mu
}

var _ File = (*memFile)(nil)

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := copy(p, f.data[min(off, int64(len(f.data))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) ReadNow(p []byte, off int64) bool {
	_, err := f.ReadAt(p, off)
	return err == nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.do(event{file: f.index, kind: written, off: off, data: bytes.Clone(p), n: int64(len(p))})
	return len(p), nil
}

func (f *memFile) Punch(off, n int64) error {
	f.do(event{file: f.index, kind: written, off: off, n: n})
	return nil
}

func (f *memFile) do(e event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.r.note(e)
	apply(f.data, e)
}

func (f *memFile) Sync() error {
	f.r.mu.Lock()
	f.syncs++
	id := f.syncs
	f.r.events = append(f.r.events, event{file: f.index, kind: syncBegun, value: id})
	f.r.mu.Unlock()
	for range 20 {
		runtime.Gosched() // others get at the disk meanwhile
	}
	f.r.note(event{file: f.index, kind: syncEnded, value: id})
	return nil
}

func (f *memFile) Data(off int64) (int64, int64, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return min(off, int64(len(f.data))), int64(len(f.data)), nil
}

func (f *memFile) Used() (uint64, error) { return uint64(len(f.data)), nil }

func (f *memFile) Close() error { return nil }
