package onesided

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"splitvm/remote"
)

// Index is a monitor's: which frame each line of its vRegions is in. Add and Remove
// are serialized by the caller, and so are the calls for one Table.
type Index struct {
	layout
	file *os.File
	free []int // places that were used and are not
}

// NewIndex makes an empty index.
func NewIndex() (*Index, error) {
	f, err := NewFile("splitvm-index", indexBytes)
	if err != nil {
		return nil, fmt.Errorf("index of lines: %w", err)
	}
	l, err := mapIndex(int(f.Fd()), unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		f.Close()
		return nil, err
	}
	l.magic.Store(magic)
	return &Index{layout: l, file: f}, nil
}

// Close frees the index. No Table may be used any more.
func (x *Index) Close() error {
	err := unix.Munmap(x.mem)
	if e := x.file.Close(); err == nil {
		err = e
	}
	return err
}

// File is the index as Open takes it.
func (x *Index) File() *os.File { return x.file }

// Table is the index of one vRegion.
type Table struct {
	*place
	n       int
	entries []atomic.Uint64
	written [remote.MaxVRegionLines / pageEntries]bool // pages of it; to read one would take memory
}

// pageEntries is how many entries a page has.
const pageEntries = 4096 / 8

// Add makes a table for a vRegion, all zero. remote.Full if there is no place.
func (x *Index) Add(at remote.Owned, lines uint32) (*Table, error) {
	n := int(x.used.Load())
	switch last := len(x.free) - 1; {
	case last >= 0:
		n = x.free[last]
		x.free = x.free[:last]
	case n == maxTables:
		return nil, fmt.Errorf("%d vRegions: %w", n, remote.Full)
	default:
		x.used.Store(uint64(n + 1))
	}
	t := &Table{place: &x.directory[n], n: n, entries: x.layout.entries(n)}
	t.life.Add(1)
	t.lines.Store(uint64(lines))
	t.epoch.Store(uint64(at.Epoch))
	t.id.Store(uint64(at.VRegion)) // last: now it can be found
	return t, nil
}

// Hide makes a vRegion's lines unreadable, for ever.
func (t *Table) Hide() { t.id.Store(0) }

// Remove frees the place of a table that is hidden.
func (x *Index) Remove(t *Table) {
	at := tableAt(t.n)
	table := x.mem[at : at+tableBytes]
	if err := unix.Madvise(table, unix.MADV_REMOVE); err != nil {
		clear(table)
	}
	x.free = append(x.free, t.n)
}

// SetEpoch has lines be read under another epoch only.
func (t *Table) SetEpoch(e remote.Epoch) { t.epoch.Store(uint64(e)) }

// At returns the frame of a line, 0 if it is zero.
func (t *Table) At(l remote.Line) uint32 {
	if !t.written[l/pageEntries] {
		return 0
	}
	return uint32(t.entries[l].Load())
}

// Put sets the frame of a line, whose contents are final, and returns the one it had.
func (t *Table) Put(l remote.Line, frame uint32) (old uint32) {
	if old = t.At(l); old == 0 && frame == 0 {
		return 0
	}
	t.written[l/pageEntries] = true
	e := &t.entries[l]
	e.Store((e.Load()>>32+1)<<32 | uint64(frame))
	return old
}
