package powercut

import "bytes"

// chunkSize is in what pieces an image takes memory.
const chunkSize = 64 << 10

// Image is what a disk holds. It takes as much memory as was written to it.
type Image struct {
	size   int64
	chunks [][]byte // nil: zeroes
}

// NewImage is a disk of zeroes; size is in bytes, a multiple of 64 KiB.
func NewImage(size int64) *Image {
	return &Image{size: size, chunks: make([][]byte, size/chunkSize)}
}

// Clone is a copy.
func (m *Image) Clone() *Image {
	c := &Image{size: m.size, chunks: make([][]byte, len(m.chunks))}
	for i, b := range m.chunks {
		c.chunks[i] = bytes.Clone(b)
	}
	return c
}

// each calls do for each piece of n bytes at off that is within a chunk.
func each(off, n int64, do func(chunk int, in, done, n int64)) {
	for done := int64(0); done < n; {
		in := (off + done) % chunkSize
		k := min(n-done, chunkSize-in)
		do(int((off+done)/chunkSize), in, done, k)
		done += k
	}
}

func (m *Image) read(p []byte, off int64) {
	each(off, int64(len(p)), func(chunk int, in, done, n int64) {
		if b := m.chunks[chunk]; b != nil {
			copy(p[done:done+n], b[in:])
		} else {
			clear(p[done : done+n])
		}
	})
}

// apply does a change.
func (m *Image) apply(c change) {
	each(c.off, c.n, func(chunk int, in, done, n int64) {
		switch b := m.chunks[chunk]; {
		case c.data == nil && n == chunkSize:
			m.chunks[chunk] = nil
		case c.data == nil && b != nil:
			clear(b[in : in+n])
		case c.data != nil:
			if b == nil {
				b = make([]byte, chunkSize)
				m.chunks[chunk] = b
			}
			copy(b[in:in+n], c.data[done:])
		}
	})
}
