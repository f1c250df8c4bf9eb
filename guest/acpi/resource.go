package acpi

import (
	"bytes"
	"encoding/binary"

	"splitvm/guest/layout"
)

// Resource descriptors (ACPI 6.5, 6.4): small ones have their length in the
// tag, large ones in the two bytes after it.
const (
	tagIRQ        = 0x22 // IRQ, two bytes of mask, no flags
	tagIO         = 0x47
	tagEnd        = 0x79
	tagMemory32   = 0x86
	tagDWordSpace = 0x87
	tagWordSpace  = 0x88

	spaceMemory = 0
	spaceIO     = 1
	spaceBus    = 2

	// spaceFixed says that minimum and maximum are fixed; the descriptor
	// produces the range for what is behind the bridge.
	spaceFixed = 0b1100

	ioEntireRange  = 0b11
	memoryWritable = 0b1 // and not cacheable
)

// resources is a resource template: descriptors in a buffer. The end tag's
// checksum 0 stands for "not computed".
func resources(descriptors ...[]byte) []byte {
	return buffer(append(bytes.Join(descriptors, nil), tagEnd, 0))
}

// ioPorts claims ports, decoding 16 bits.
func ioPorts(base uint16, n uint8) []byte {
	b := []byte{tagIO, 1}
	b = binary.LittleEndian.AppendUint16(b, base)
	b = binary.LittleEndian.AppendUint16(b, base)
	return append(b, 1, n)
}

// irq claims an ISA interrupt: edge triggered, active high.
func irq(n uint) []byte {
	return binary.LittleEndian.AppendUint16([]byte{tagIRQ}, 1<<n)
}

// fixedMemory claims writable memory.
func fixedMemory(base layout.GPA, size uint32) []byte {
	b := []byte{tagMemory32, 9, 0, 1}
	b = binary.LittleEndian.AppendUint32(b, uint32(base))
	return binary.LittleEndian.AppendUint32(b, size)
}

// wordSpace is an address space from low to high, both included, that a bridge
// passes on.
func wordSpace(kind, specific byte, low, high uint16) []byte {
	b := []byte{tagWordSpace, 13, 0, kind, spaceFixed, specific}
	for _, v := range []uint16{0, low, high, 0, high - low + 1} { // granularity, range, translation, length
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

// dwordMemory is a window of 32-bit memory that a bridge passes on.
func dwordMemory(base layout.GPA, size uint32) []byte {
	b := []byte{tagDWordSpace, 23, 0, spaceMemory, spaceFixed, memoryWritable}
	for _, v := range []uint32{0, uint32(base), uint32(base) + size - 1, 0, size} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}
