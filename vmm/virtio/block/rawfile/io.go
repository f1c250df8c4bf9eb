package rawfile

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio/block"
)

// inPlace tells whether to do r on the queue's worker though it might block: a
// write into the page cache, which the file system does one at a time anyhow,
// or a read where RWF_NOWAIT is not known, unless such have been slow.
func (d *Disk) inPlace(r *block.Request) bool {
	if d.direct || r.Durable || r.Length > inPlaceMax {
		return false
	}
	return (r.Op == block.OpWrite || r.Op == block.OpRead && d.noNowait.Load()) && d.pace.allows()
}

// perform does r in a goroutine of the pool, and answers it.
func (d *Disk) perform(r *block.Request) { r.Done(d.explain(r, d.do(r))) }

func (d *Disk) explain(r *block.Request, err error) error {
	if err == nil || errors.Is(err, block.ErrUnsupported) {
		return err
	}
	return fmt.Errorf("disk %s: %v of %d bytes at %d: %w", d.name, r.Op, r.Length, r.Offset, err)
}

// do does r and returns when it is done.
func (d *Disk) do(r *block.Request) error {
	err := d.doOnce(r)
	if err == nil && r.Durable && r.Op != block.OpRead {
		return d.flush()
	}
	return err
}

func (d *Disk) doOnce(r *block.Request) error {
	switch r.Op {
	case block.OpRead:
		if !d.align.holds(r) {
			return d.bounce(false, r.Memory, r.Offset, r.Length)
		}
		return transfer(unix.Preadv, d.fd, r)
	case block.OpWrite:
		if !d.align.holds(r) {
			return d.bounce(true, r.Memory, r.Offset, r.Length)
		}
		d.partial.RLock()
		defer d.partial.RUnlock()
		return transfer(unix.Pwritev, d.fd, r)
	case block.OpFlush:
		return d.flush()
	case block.OpDiscard:
		return d.discard(r.Offset, r.Length)
	case block.OpWriteZeroes:
		return d.writeZeroes(r.Offset, r.Length, r.Unmap)
	}
	return block.ErrUnsupported
}

func (d *Disk) flush() error {
	return again(func() error { return unix.Fdatasync(d.fd) })
}

// maxVectors is IOV_MAX.
const maxVectors = 1024

// transfer moves all of r by as many calls as it takes. The end of the file
// before the end of r is an error: the file was cut off behind our back.
func transfer(call func(fd int, iovs [][]byte, offset int64) (int, error), fd int, r *block.Request) error {
	rest, off := r.Memory, int64(r.Offset)
	for len(rest) > 0 {
		n, err := call(fd, rest[:min(len(rest), maxVectors)], off)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		off += int64(n)
		rest = advance(rest, n)
	}
	return nil
}

// advance drops the first n bytes of the vectors, in place.
func advance(v [][]byte, n int) [][]byte {
	for len(v) > 0 && n >= len(v[0]) {
		n -= len(v[0])
		v = v[1:]
	}
	if n > 0 {
		v[0] = v[0][n:]
	}
	return v
}

// writeAll writes p at off by as many calls as it takes.
func writeAll(fd int, p []byte, off uint64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, int64(off))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return io.ErrShortWrite
		}
		p, off = p[n:], off+uint64(n)
	}
	return nil
}

func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
