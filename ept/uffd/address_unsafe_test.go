package uffd

import "unsafe"

// addressOf returns the address of mem, memory outside of the Go heap.
func addressOf(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) }
