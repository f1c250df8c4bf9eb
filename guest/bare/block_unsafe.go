package bare

import "unsafe"

// Bytes views the block as it lies in guest memory, to be read or filled.
func (b *Block) Bytes() []byte { return bytesOf(b) }

// Bytes views the histogram as it lies in guest memory.
func (h *Histogram) Bytes() []byte { return bytesOf(h) }

// bytesOf views a structure of fixed-size integers.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}
