package boot

import (
	"encoding/binary"

	"splitvm/guest/layout"
)

// Places in a 64-bit task state segment (Intel SDM vol. 3, 8.7), and its size
// with a bit for each port and the byte of ones that must follow the bits.
const (
	tssBitmapOffset = 0x66
	tssBitmap       = 0x68
	bareTSSSize     = tssBitmap + 65536/8 + 1
)

// bareTSS is the task state segment of a bare guest: no stacks, as it has no
// exceptions, and an I/O bitmap that allows ring 3 every port. IOPL 3 allows
// the same by the architecture, but a KVM that emulates ring 0 asks the bitmap
// all the same for the ports from 0x340 on.
func bareTSS() Segment {
	data := make([]byte, bareTSSSize)
	binary.LittleEndian.PutUint16(data[tssBitmapOffset:], tssBitmap)
	data[bareTSSSize-1] = 0xff
	return bytesAt("task state segment", layout.BareTSS, data)
}
