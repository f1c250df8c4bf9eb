package virtq

import (
	"encoding/binary"
	"fmt"

	"splitvm/guest/layout"
	"splitvm/vmm/memory"
)

// Span is one buffer: Len bytes of guest memory at GPA, as the driver said. It
// may lie outside RAM.
type Span struct {
	GPA layout.GPA
	Len uint32
}

// Chain is one request: what the device reads, then what it writes. Spans are
// never empty, and both parts together are below 4 GiB (virtio 1.2, 2.7.5).
// The zero Chain is ready for Pop, which reuses it.
type Chain struct {
	Readable []Span
	Writable []Span

	mem      *memory.Memory
	readable uint32 // bytes in Readable
	writable uint32 // bytes in Writable
	id       uint16 // head index, or the packed ring's buffer id
	slots    uint16 // packed: ring entries that the chain takes
}

// ReadableLen is the number of bytes that the device may read.
func (c *Chain) ReadableLen() uint32 { return c.readable }

// WritableLen is the number of bytes that the device may write.
func (c *Chain) WritableLen() uint32 { return c.writable }

// AppendReadable appends host views of n bytes from off on of the readable
// part to dst, for system calls only. It fails where that part is shorter or
// not guest RAM.
func (c *Chain) AppendReadable(dst [][]byte, off, n uint32) ([][]byte, error) {
	return c.views(dst, c.Readable, off, n)
}

// AppendWritable is AppendReadable of the writable part.
func (c *Chain) AppendWritable(dst [][]byte, off, n uint32) ([][]byte, error) {
	return c.views(dst, c.Writable, off, n)
}

// Load fills p with the bytes of the readable part from off on. It goes by
// small loads and not by a system call, so it is for headers.
func (c *Chain) Load(off uint32, p []byte) error {
	return c.small(c.Readable, off, len(p), func(w memory.Window, at, n int) { load(w, p[at:at+n]) })
}

// Store puts p into the writable part from off on, by small stores: for
// headers and status bytes. Stores of one call are not ordered.
func (c *Chain) Store(off uint32, p []byte) error {
	return c.small(c.Writable, off, len(p), func(w memory.Window, at, n int) { store(w, p[at:at+n]) })
}

// add appends a descriptor's buffer, as the rules of the ring allow it.
func (c *Chain) add(gpa uint64, n uint32, writable bool) error {
	if !writable && len(c.Writable) > 0 {
		return fmt.Errorf("%w: a readable buffer after a writable one", ErrBroken)
	}
	if n == 0 {
		return nil
	}
	if total := c.readable + c.writable; total+n < total {
		return fmt.Errorf("%w: a chain of 4 GiB or more", ErrBroken)
	}
	span := Span{GPA: layout.GPA(gpa), Len: n}
	if writable {
		c.Writable, c.writable = append(c.Writable, span), c.writable+n
	} else {
		c.Readable, c.readable = append(c.Readable, span), c.readable+n
	}
	return nil
}

func (c *Chain) reset(m *memory.Memory) {
	*c = Chain{Readable: c.Readable[:0], Writable: c.Writable[:0], mem: m}
}

func (c *Chain) views(dst [][]byte, spans []Span, off, n uint32) ([][]byte, error) {
	var err error
	for i := 0; n > 0; i++ {
		if i == len(spans) {
			return dst, fmt.Errorf("%w: a request shorter than its kind", ErrBroken)
		}
		s := spans[i]
		if off >= s.Len {
			off -= s.Len
			continue
		}
		k := min(n, s.Len-off)
		if dst, err = c.mem.AppendSlices(dst, s.GPA+layout.GPA(off), uint64(k)); err != nil {
			return dst, err
		}
		off, n = 0, n-k
	}
	return dst, nil
}

// small calls do for each stretch that lies in one span and one region.
func (c *Chain) small(spans []Span, off uint32, n int, do func(w memory.Window, at, n int)) error {
	at := 0
	for i := 0; at < n; i++ {
		if i == len(spans) {
			return fmt.Errorf("%w: a request shorter than its kind", ErrBroken)
		}
		s := spans[i]
		if off >= s.Len {
			off -= s.Len
			continue
		}
		k := min(n-at, int(s.Len-off))
		w, err := c.mem.Window(s.GPA+layout.GPA(off), uint64(k))
		if err != nil {
			return err
		}
		do(w, at, k)
		off, at = 0, at+k
	}
	return nil
}

func load(w memory.Window, p []byte) {
	var off uint64
	for ; len(p) >= 8; off, p = off+8, p[8:] {
		binary.LittleEndian.PutUint64(p, w.Load64(off))
	}
	for i := range p {
		p[i] = w.Load8(off + uint64(i))
	}
}

func store(w memory.Window, p []byte) {
	var off uint64
	for ; len(p) >= 8; off, p = off+8, p[8:] {
		w.Store64(off, binary.LittleEndian.Uint64(p))
	}
	for i := range p {
		w.Store8(off+uint64(i), p[i])
	}
}
