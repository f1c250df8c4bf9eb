package volume

import (
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"splitvm/remote"
	"splitvm/vmm/virtio/block"
)

// memoryFile returns a file without a name whose pages are memory, once they are written.
func memoryFile(size uint64) (*os.File, error) {
	fd, err := unix.MemfdCreate("splitvm-volume", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a cache: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "volume cache")
	if err := f.Truncate(int64(size)); err != nil {
		f.Close()
		return nil, fmt.Errorf("make a cache: %w", err)
	}
	return f, nil
}

// load fills memory of the guest from the file, and store is the other way round.
func (c *cached) load(mem [][]byte, at uint64) error  { return transfer(unix.Preadv, c.fd, mem, at) }
func (c *cached) store(mem [][]byte, at uint64) error { return transfer(unix.Pwritev, c.fd, mem, at) }

// maxVectors is IOV_MAX.
const maxVectors = 1024

// transfer moves all of mem, in as many calls as it takes.
func transfer(call func(fd int, iovs [][]byte, offset int64) (int, error), fd int, mem [][]byte, at uint64) error {
	for len(mem) > 0 {
		n, err := call(fd, mem[:min(len(mem), maxVectors)], int64(at))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("volume cache: %w", err)
		case n == 0:
			return fmt.Errorf("volume cache: %w", io.ErrUnexpectedEOF)
		}
		at += uint64(n)
		mem = window(mem, uint64(n), sizeOf(mem)-uint64(n))
	}
	return nil
}

// clear gives a range's memory back: it reads as zeroes.
func (c *cached) clear(at, n uint64) {
	for {
		err := unix.Fallocate(c.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(at), int64(n))
		if err == nil {
			return
		}
		if err != unix.EINTR {
			panic("volume cache: fallocate: " + err.Error()) // a memory file has it, and needs nothing for it
		}
	}
}

// punch gives the memory of blocks back.
// Preconditions: mu is held.
func (c *cached) punch(blocks []uint64) {
	slices.Sort(blocks)
	for r := range runsOf(blocks) {
		c.clear(r.first*remote.BlockSize, r.n*remote.BlockSize)
	}
}

// run is adjacent blocks.
type run struct {
	first, n uint64
	cached   bool  // of a write: it goes to the cache
	err      error // of that
}

// runsOf joins ascending blocks.
func runsOf(blocks []uint64) iter.Seq[run] {
	return func(yield func(run) bool) {
		for i := 0; i < len(blocks); {
			n := 1
			for i+n < len(blocks) && blocks[i+n] == blocks[i]+uint64(n) {
				n++
			}
			if !yield(run{first: blocks[i], n: uint64(n)}) {
				return
			}
			i += n
		}
	}
}

// window returns the part of a request that is in a run: its offset in the volume, and
// its memory.
func (c *cached) window(r *block.Request, u run) (at uint64, mem [][]byte) {
	at = max(r.Offset, u.first*remote.BlockSize)
	end := min(r.Offset+r.Length, c.endOf(u.first+u.n-1))
	if at == r.Offset && end == r.Offset+r.Length {
		return at, r.Memory
	}
	return at, window(r.Memory, at-r.Offset, end-at)
}

// window returns n bytes of the slices, from off on.
func window(mem [][]byte, off, n uint64) [][]byte {
	var out [][]byte
	for _, m := range mem {
		if skip := min(off, uint64(len(m))); skip > 0 {
			m, off = m[skip:], off-skip
		}
		if m = m[:min(uint64(len(m)), n)]; len(m) > 0 {
			out = append(out, m)
			n -= uint64(len(m))
		}
	}
	return out
}

func sizeOf(mem [][]byte) (n uint64) {
	for _, m := range mem {
		n += uint64(len(m))
	}
	return n
}
