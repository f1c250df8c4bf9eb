package guesttest

import (
	"sync/atomic"
	"unsafe"
)

const pageSize = 4096

// addressOf returns the address of mem, memory outside of the Go heap.
func addressOf(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) }

// word returns the 64-bit word at off, which is a multiple of 8.
func word(mem []byte, off int) *uint64 { return (*uint64)(unsafe.Pointer(&mem[off])) }

func load(mem []byte, off int) uint64     { return atomic.LoadUint64(word(mem, off)) }
func store(mem []byte, off int, v uint64) { atomic.StoreUint64(word(mem, off), v) }
func add(mem []byte, off int, v uint64)   { atomic.AddUint64(word(mem, off), v) }
