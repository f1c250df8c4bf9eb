package boot

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// inflated is the content of a compressed payload as an io.ReaderAt. It reads
// forward: an offset after the last one is decompressed up to, one before it
// starts again from the beginning. One chunk is held at a time, so a kernel of
// 50 MiB needs a chunk of memory and the decompressor's window.
type inflated struct {
	format string
	size   int64 // uncompressed bytes, as the payload says
	open   func() (chunks, error)

	mu    sync.Mutex
	cur   chunks // guarded by mu; nil: to be opened
	chunk []byte // guarded by mu; valid until cur.next
	start int64  // guarded by mu; offset of chunk
}

// ReadAt reads decompressed bytes. A payload that is damaged or ends before
// its size gives an error that wraps ErrImage.
func (f *inflated) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(p) {
		view, err := f.view(off + int64(n))
		n += copy(p[n:], view)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// view is what there is at hand from off on: at least a byte, valid until the
// next call; io.EOF at the end. mu is held.
func (f *inflated) view(off int64) ([]byte, error) {
	if off < 0 || off >= f.size {
		return nil, io.EOF
	}
	if f.cur == nil || off < f.start {
		if err := f.rewind(); err != nil {
			return nil, err
		}
	}
	for off-f.start >= int64(len(f.chunk)) {
		f.start += int64(len(f.chunk))
		f.chunk = nil
		chunk, err := f.cur.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // it says that it has size bytes
			}
			at := f.start
			f.drop()
			return nil, fmt.Errorf("%w: %s payload after %d of %d bytes: %w", ErrImage, f.format, at, f.size, err)
		}
		f.chunk = chunk[:min(int64(len(chunk)), f.size-f.start)]
	}
	return f.chunk[off-f.start:], nil
}

func (f *inflated) rewind() error {
	f.drop()
	cur, err := f.open()
	if err != nil {
		return fmt.Errorf("%w: %s payload: %w", ErrImage, f.format, err)
	}
	f.cur = cur
	return nil
}

// drop lets go of the decompressor and its memory. mu is held.
func (f *inflated) drop() {
	if c, ok := f.cur.(io.Closer); ok {
		c.Close()
	}
	f.cur, f.chunk, f.start = nil, nil, 0
}

// settle ends what runs in the background, so that a plan that is never placed
// leaves nothing behind. Only zstd's decoder has goroutines between calls; what
// starting it again costs is little, and for lz4 it would be 8 MiB.
func (f *inflated) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.cur.(*zstdChunks); ok {
		f.drop()
	}
}

// Close lets go of the decompressor; reading after it starts again.
func (f *inflated) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop()
	return nil
}
