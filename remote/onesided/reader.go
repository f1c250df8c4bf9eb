package onesided

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"splitvm/remote"
)

// Reader reads the lines of a monitor. Its methods may be called concurrently.
type Reader struct {
	mu     sync.RWMutex // held for reading while the mappings are used
	layout              // no mem: closed
	slab   []byte
	places sync.Map // remote.VRegionID to where its place was seen
}

// Open maps a monitor's files. They may be closed afterwards.
func Open(slab, index *os.File) (*Reader, error) {
	n, err := size(slab)
	if err != nil {
		return nil, err
	}
	if m, err := size(index); err != nil || m != indexBytes {
		return nil, fmt.Errorf("index of lines has %d bytes, want %d (%v)", m, indexBytes, err)
	}
	r := &Reader{}
	if r.layout, err = mapIndex(int(index.Fd()), unix.PROT_READ); err != nil {
		return nil, err
	}
	if r.slab, err = unix.Mmap(int(slab.Fd()), 0, n, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		unix.Munmap(r.mem)
		return nil, fmt.Errorf("map a monitor's lines: %w", err)
	}
	unix.Madvise(r.slab, unix.MADV_DONTDUMP)
	if r.magic.Load() != magic {
		r.Close()
		return nil, fmt.Errorf("index of lines has another layout")
	}
	return r, nil
}

// Close unmaps the files. Reads that follow fail.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mem == nil {
		return nil
	}
	err := unix.Munmap(r.mem)
	if e := unix.Munmap(r.slab); err == nil {
		err = e
	}
	r.layout, r.slab = layout{}, nil
	return err
}

// Read copies lines into mem; runs and mem are as in remote.LineStore, and fit. Lines of zeroes
// are set in the result, and their memory is left as it was. False: they can't be read
// here, or not now; mem is unspecified.
func (r *Reader) Read(at remote.Owned, runs []remote.Run, mem [][]byte) (zero remote.LineSet, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n, ok := r.find(at)
	if !ok {
		return zero, false
	}
	p, entries := &r.directory[n], r.entries(n)
	life, lines := p.life.Load(), p.lines.Load()
	i, into := 0, mem[0]
	for _, run := range runs {
		if run.Count == 0 || uint64(run.First)+uint64(run.Count) > min(lines, remote.MaxVRegionLines) {
			return zero, false // the monitor says what is wrong with it
		}
		for l := run.First; l < run.First+remote.Line(run.Count); l++ {
			for len(into) == 0 {
				mem = mem[1:]
				into = mem[0]
			}
			held, ok := r.line(&entries[l], into[:remote.LineSize])
			if !ok {
				return zero, false
			}
			if !held {
				zero.Add(i)
			}
			into = into[remote.LineSize:]
			i++
		}
	}
	return zero, p.is(at) && p.life.Load() == life
}

// line copies the line of an entry, unless that has none.
func (r *Reader) line(entry *atomic.Uint64, dst []byte) (held, ok bool) {
	e := entry.Load()
	f := int(uint32(e))
	if f == 0 {
		return false, true
	}
	if f*remote.LineSize > len(r.slab) {
		return true, false
	}
	copy(dst, r.slab[(f-1)*remote.LineSize:f*remote.LineSize])
	return true, entry.Load() == e
}

// is tells whether a place of the directory is a vRegion's, under its epoch.
func (p *place) is(at remote.Owned) bool {
	return p.id.Load() == uint64(at.VRegion) && p.epoch.Load() == uint64(at.Epoch)
}

// find returns which place is a vRegion's. It looks through the directory at the first time only.
// Preconditions: mu is held.
func (r *Reader) find(at remote.Owned) (int, bool) {
	if r.mem == nil || at.VRegion == 0 {
		return 0, false
	}
	has := func(n int) bool { return r.directory[n].id.Load() == uint64(at.VRegion) }
	if n, ok := r.places.Load(at.VRegion); ok && has(n.(int)) {
		return n.(int), true
	}
	for n := range int(min(r.used.Load(), maxTables)) {
		if has(n) {
			r.places.Store(at.VRegion, n)
			return n, true
		}
	}
	return 0, false
}
