package bare

import "unsafe"

// TableBytes views the entries of a table as they lie in guest memory.
func TableBytes[T Class | Op](table []T) []byte {
	var one T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(table))), uintptr(len(table))*unsafe.Sizeof(one))
}

// Events views guest memory as what history logged; it must hold whole Events
// and be 8-aligned, as what make gives is.
func Events(log []byte) []Event {
	return unsafe.Slice((*Event)(unsafe.Pointer(unsafe.SliceData(log))), len(log)/EventSize)
}
