package blockclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"splitvm/remote"
	"splitvm/remote/blockwire"
)

const (
	fillUnit  = 64 << 10 // bytes of one write; what has a byte in it takes all of its unit's space
	fillDepth = 32       // writes under way
)

// Fill writes size bytes of src to the beginning of a volume that reads as
// zeroes, and flushes it. Stretches of zeroes are not sent.
func (v *Volume) Fill(ctx context.Context, src io.ReaderAt, size int64) error {
	f := &fill{v: v, free: make(chan []byte, fillDepth)}
	for range fillDepth {
		f.free <- make([]byte, fillUnit)
	}
	var err error
	for at := int64(0); at < size && err == nil; at += fillUnit {
		err = f.write(ctx, src, at, min(size-at, fillUnit))
	}
	for range fillDepth { // the memory is the client's until each write is done
		<-f.free
	}
	if err := errors.Join(err, f.err); err != nil {
		return fmt.Errorf("fill volume %q: %w", v.cfg.Name, err)
	}
	return v.do(ctx, &Request{Op: blockwire.Flush})
}

// Reader reads a volume, whole blocks at a time, into memory that stays the client's for
// up to Config.Timeout when ctx ends first.
func (v *Volume) Reader(ctx context.Context) io.ReaderAt { return reader{ctx, v} }

type reader struct {
	ctx context.Context
	v   *Volume
}

// ReadAt implements io.ReaderAt.
func (r reader) ReadAt(p []byte, off int64) (int, error) {
	err := r.v.do(r.ctx, &Request{Op: blockwire.Read, Offset: uint64(off), Length: uint64(len(p)), Memory: [][]byte{p}})
	if err != nil {
		return 0, fmt.Errorf("read volume %q: %w", r.v.cfg.Name, err)
	}
	return len(p), nil
}

type fill struct {
	v    *Volume
	free chan []byte

	mu  sync.Mutex
	err error // guarded by mu; the first
}

func (f *fill) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *fill) done(buf []byte, err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	f.free <- buf
}

// write writes n bytes at the offset, with zeroes up to the end of the last
// block.
func (f *fill) write(ctx context.Context, src io.ReaderAt, at, n int64) error {
	if err := errors.Join(ctx.Err(), f.failure()); err != nil {
		return err
	}
	buf := <-f.free
	p := buf[:(n+remote.BlockSize-1)/remote.BlockSize*remote.BlockSize]
	clear(p[n:])
	if got, err := src.ReadAt(p[:n], at); int64(got) < n {
		f.free <- buf
		return err
	}
	if allZero(p) {
		f.free <- buf
		return nil
	}
	f.v.Submit(&Request{Op: blockwire.Write, Offset: uint64(at), Length: uint64(len(p)), Memory: [][]byte{p},
		Done: func(r *Request) { f.done(buf, r.Err) }})
	return nil
}
