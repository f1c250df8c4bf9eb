//go:build amd64

package bare

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unsafe"
)

// endOfCode is END_OF_CODE in bare.h.
var endOfCode = binary.LittleEndian.AppendUint64(
	binary.LittleEndian.AppendUint64(nil, 0x5d1a7e6ec0d3b0a7), 0x0ddba11c0ffee1e5)

// Code returns a copy of the program's instructions.
func (p Program) Code() []byte {
	start := p.at()
	for n := 0; n+len(endOfCode) <= MaxCode; n++ {
		// What is read is this executable's own text, up to the mark that
		// every program ends with.
		if bytes.Equal(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(start), n)), len(endOfCode)), endOfCode) {
			return slices.Clone(unsafe.Slice(start, n))
		}
	}
	panic("bare: program " + p.Name + " has no end")
}
