package rawfile

import (
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio/block"
)

// alignment is what O_DIRECT asks of a transfer, in bytes. The zero alignment
// asks nothing.
type alignment struct {
	memory uint64 // of each buffer's address
	offset uint64 // of the file offset and of each buffer's length
}

// holds tells whether r can go as it is.
func (a alignment) holds(r *block.Request) bool {
	if a.offset == 0 {
		return true
	}
	if r.Offset%a.offset != 0 {
		return false
	}
	for _, v := range r.Memory {
		if address(v)%a.memory != 0 || uint64(len(v))%a.offset != 0 {
			return false
		}
	}
	return true
}

// bounceSize is how much an unaligned transfer moves at once.
const bounceSize = 1 << 20

var bounceBuffers = sync.Pool{New: func() any {
	b := pageAligned(bounceSize)
	return &b
}}

// bouncer moves a transfer that O_DIRECT would refuse through an aligned
// buffer of ours. A write that covers a block in part reads it first, with
// every other write shut out meanwhile.
type bouncer struct {
	fd    int
	align uint64
	buf   []byte
}

// bounce does a read or a write of n bytes at off. Nil memory is zeroes.
func (d *Disk) bounce(write bool, memory [][]byte, off, n uint64) error {
	buf := bounceBuffers.Get().(*[]byte)
	defer bounceBuffers.Put(buf)
	b := bouncer{fd: d.fd, align: d.align.offset, buf: *buf}
	if write {
		d.partial.Lock()
		defer d.partial.Unlock()
	}
	for n > 0 {
		k := min(n, bounceSize-off%b.align)
		var part [][]byte
		if memory != nil {
			part, memory = split(memory, int(k))
		}
		move := b.read
		if write {
			move = b.write
		}
		if err := move(part, off, k); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// span is the aligned stretch around n bytes at off, and where they are in it.
func (b bouncer) span(off, n uint64) (start uint64, block, inner []byte) {
	start = off &^ (b.align - 1)
	end := (off + n + b.align - 1) &^ (b.align - 1)
	block = b.buf[:end-start]
	return start, block, block[off-start:][:n]
}

func (b bouncer) read(part [][]byte, off, n uint64) error {
	start, block, inner := b.span(off, n)
	if err := b.load(block, start, off+n-start); err != nil {
		return err
	}
	return toGuest(part, inner)
}

func (b bouncer) write(part [][]byte, off, n uint64) error {
	start, block, inner := b.span(off, n)
	last := uint64(len(block)) - b.align
	if start != off || last == 0 && n != b.align {
		if err := b.load(block[:b.align], start, b.align); err != nil {
			return err
		}
	}
	if last > 0 && (off+n)%b.align != 0 {
		if err := b.load(block[last:], start+last, b.align); err != nil {
			return err
		}
	}
	if part == nil {
		clear(inner)
	} else if err := fromGuest(inner, part); err != nil {
		return err
	}
	return writeAll(b.fd, block, start)
}

// load reads at least need bytes of p's stretch of the file.
func (b bouncer) load(p []byte, off, need uint64) error {
	for have := uint64(0); have < need; {
		k, err := unix.Pread(b.fd, p[have:], int64(off+have))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case k == 0:
			return io.ErrUnexpectedEOF
		}
		have += uint64(max(k, 0))
	}
	return nil
}

// split cuts the first n bytes off the vectors.
func split(v [][]byte, n int) (head, tail [][]byte) {
	for i, p := range v {
		if n < len(p) {
			head = append(head, v[:i]...)
			if n > 0 {
				head = append(head, p[:n])
			}
			tail = append([][]byte{p[n:]}, v[i+1:]...)
			return head, tail
		}
		n -= len(p)
	}
	return v, nil
}

// toGuest and fromGuest copy by system calls, for guest pages may be absent.

func toGuest(to [][]byte, from []byte) error {
	return guestCopy(unix.ProcessVMWritev, from, to)
}

func fromGuest(to []byte, from [][]byte) error {
	return guestCopy(unix.ProcessVMReadv, to, from)
}

type vmCall func(pid int, local []unix.Iovec, remote []unix.RemoteIovec, flags uint) (int, error)

func guestCopy(call vmCall, ours []byte, guest [][]byte) error {
	pid := unix.Getpid()
	for _, v := range guest {
		for len(v) > 0 {
			k, err := call(pid, vector(ours[:len(v)]), remoteVector(v), 0)
			switch {
			case err == unix.EINTR:
				continue
			case err != nil:
				return err
			case k == 0:
				return io.ErrUnexpectedEOF
			}
			ours, v = ours[k:], v[k:]
		}
	}
	return nil
}
