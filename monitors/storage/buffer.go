package storage

import (
	"math/bits"
	"sync"

	"splitvm/remote"
)

// buffer is memory for a payload; it comes from a pool of its size.
type buffer struct {
	mem   []byte // as long as asked for
	class int
}

const (
	smallestClass = 12 // 4 KiB
	largestClass  = 20 // remote.MaxBlockIO
)

var bufferPools [largestClass - smallestClass + 1]sync.Pool

// newBuffer returns a buffer of n bytes (1 to remote.MaxBlockIO), whose content
// is whatever was there.
func newBuffer(n int) *buffer {
	if n < 1 || n > remote.MaxBlockIO {
		panic("storage: buffer size out of range")
	}
	class := max(bits.Len(uint(n-1)), smallestClass)
	b, _ := bufferPools[class-smallestClass].Get().(*buffer)
	if b == nil {
		b = &buffer{mem: make([]byte, 1<<class), class: class}
	}
	b.mem = b.mem[:n]
	return b
}

// release gives the buffer back.
func (b *buffer) release() {
	b.mem = b.mem[:cap(b.mem)]
	bufferPools[b.class-smallestClass].Put(b)
}
