package layer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Errors that callers branch on.
var (
	// ErrDamaged means that a block is not what was written to it.
	ErrDamaged = errors.New("block does not match its checksum")
	// ErrWouldBlock means that a read would have to wait for the disk.
	ErrWouldBlock = errors.New("not in memory")
	// ErrFailed means that the file system lost writes; the layer takes no more.
	ErrFailed = errors.New("the file system failed to store what was written")
)

// ID names a layer in its data directory.
type ID uint64

// String is the name of the layer's directory.
func (id ID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// limitSpan is for how many flushes a header reserves generations.
const limitSpan = 1 << 20

const stripeCount = 64

// Layer is an open layer. Reads and changes may go on in parallel.
type Layer struct {
	files  Files
	id     ID
	blocks uint64 // immutable after Open

	gate    sync.RWMutex
	gen     uint64 // guarded by gate: of the changes that are being made
	stripes [stripeCount]sync.RWMutex
	pages   pages

	durable atomic.Uint64 // generations that are on stable storage
	common  atomic.Uint64
	dirty   atomic.Bool                 // something was changed in gen
	broken  atomic.Bool                 // failed is set
	touched [len(fileNames)]atomic.Bool // files that were written to since their last sync

	mu        sync.Mutex
	settled   sync.Cond // a flush has ended
	begun     uint64    // flushes; guarded by mu
	ended     uint64    // guarded by mu
	failed    error     // guarded by mu; for good
	discarded []span    // guarded by mu; to be freed when durable

	head header // owned by the flush under way
}

// span is blocks in a row.
type span struct{ first, n uint64 }

// Create makes an empty layer in the directory of that id under dir. Its
// generations continue from gen.
func Create(dir string, id ID, blocks, gen uint64) error {
	at := filepath.Join(dir, id.String())
	if err := makeLayer(at, id, blocks, gen); err != nil {
		return errors.Join(fmt.Errorf("create layer %v: %w", id, err), os.RemoveAll(at))
	}
	return nil
}

func makeLayer(at string, id ID, blocks, gen uint64) error {
	if err := makeFiles(at, blocks); err != nil {
		return err
	}
	f, err := openFile(filepath.Join(at, "map"), false)
	if err != nil {
		return err
	}
	return errors.Join(initialize(f, id, blocks, gen), f.Close())
}

func initialize(f File, id ID, blocks, gen uint64) error {
	h := header{id: uint64(id), blocks: blocks, durable: gen, limit: gen + 1, common: gen, clean: true}
	return errors.Join(h.write(f), f.Sync())
}

// Open opens a layer and, if it was not closed in order, recovers it. A frozen
// one takes no changes.
func Open(dir string, id ID, frozen bool) (*Layer, error) {
	files, err := openFiles(filepath.Join(dir, id.String()), false)
	if err != nil {
		return nil, fmt.Errorf("open layer %v: %w", id, err)
	}
	l, err := OpenFiles(files, id, frozen)
	if err != nil {
		return nil, errors.Join(err, files.close())
	}
	return l, nil
}

func (f *Files) list() [len(fileNames)]File { return [...]File{f.A, f.B, f.Map} }

func (f *Files) close() error { return errors.Join(f.A.Close(), f.B.Close(), f.Map.Close()) }

// OpenFiles is Open of files that are open.
func OpenFiles(files Files, id ID, frozen bool) (*Layer, error) {
	l := &Layer{files: files, id: id}
	l.settled.L = &l.mu
	if err := l.head.read(files.Map); err != nil {
		return nil, fmt.Errorf("open layer %v: %w", id, err)
	}
	if l.head.id != uint64(id) {
		return nil, fmt.Errorf("open layer %v: it is layer %v", id, ID(l.head.id))
	}
	l.blocks = l.head.blocks
	l.pages = newPages(l.blocks)
	l.common.Store(l.head.common)
	l.gen = l.head.limit
	if !l.head.clean {
		if err := l.recover(); err != nil {
			return nil, fmt.Errorf("recover layer %v: %w", id, err)
		}
	}
	l.durable.Store(l.gen - 1)
	if frozen && l.head.clean {
		return l, nil
	}
	if err := l.begin(frozen); err != nil {
		return nil, fmt.Errorf("open layer %v: %w", id, err)
	}
	return l, nil
}

// begin notes in the header that the layer is in use, or that it is in order.
func (l *Layer) begin(frozen bool) error {
	l.head.durable, l.head.clean = l.gen-1, frozen
	l.head.limit = l.gen + limitSpan
	return errors.Join(l.head.write(l.files.Map), l.files.Map.Sync())
}

// Close flushes and closes the layer. No other call may be under way.
func (l *Layer) Close() error {
	_, err := l.Flush()
	if err == nil {
		err = l.finish()
	}
	return errors.Join(err, l.files.close())
}

// Freeze flushes the layer and marks it as in order. No change may follow.
func (l *Layer) Freeze() error {
	if _, err := l.Flush(); err != nil {
		return err
	}
	return l.finish()
}

func (l *Layer) finish() error {
	if l.head.clean {
		return nil
	}
	l.head.durable, l.head.common, l.head.clean = l.durable.Load(), l.common.Load(), true
	l.head.limit = l.gen + 1
	err := errors.Join(l.head.write(l.files.Map), l.files.Map.Sync())
	if err != nil {
		return fmt.Errorf("close layer %v: %w", l.id, err)
	}
	return nil
}

// ID names the layer.
func (l *Layer) ID() ID { return l.id }

// Blocks returns the layer's size.
func (l *Layer) Blocks() uint64 { return l.blocks }

// Generations returns the one that is being written and the last durable one.
func (l *Layer) Generations() (now, durable uint64) {
	l.gate.RLock()
	defer l.gate.RUnlock()
	return l.gen, l.durable.Load()
}

// Common returns the generation that SetCommon was given last, as far as it is
// on disk.
func (l *Layer) Common() uint64 { return l.common.Load() }

// SetCommon notes, with the next flush, a generation up to which all replicas of
// the volume are known to have the same.
func (l *Layer) SetCommon(gen uint64) { l.common.Store(gen) }

// Used returns how many bytes of the file system the layer of that id occupies,
// whether it is open or not.
func Used(dir string, id ID) (uint64, error) {
	sum := uint64(0)
	for _, name := range fileNames {
		f, err := openFile(filepath.Join(dir, id.String(), name), true)
		if err != nil {
			return 0, err
		}
		n, err := f.Used()
		if err = errors.Join(err, f.Close()); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// Thaw takes Freeze back.
func (l *Layer) Thaw() error { return l.begin(false) }

// IDOf is the id that a big-endian key stands for.
func IDOf(key []byte) ID { return ID(binary.BigEndian.Uint64(key)) }
