package memory

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
)

// HostAddr is the address at which this process maps the region, for
// KVM_SET_USER_MEMORY_REGION and userfaultfd.
func (r *Region) HostAddr() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(r.host))) }

func vector(p []byte) []unix.Iovec {
	v := []unix.Iovec{{Base: unsafe.SliceData(p)}}
	v[0].SetLen(len(p))
	return v
}

func remoteVector(p []byte) []unix.RemoteIovec {
	return []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(unsafe.SliceData(p))), Len: len(p)}}
}

// Window is a checked stretch of RAM inside one region whose words can be
// read and written without another look at the map. The zero Window is empty.
// An offset past the end is our own mistake and panics.
type Window struct {
	base unsafe.Pointer
	size uint64
}

// Window returns the n bytes from gpa on, which must be in one region. It
// allocates nothing: devices ask for one with every request.
func (m *Memory) Window(gpa layout.GPA, n uint64) (Window, error) {
	r := m.find(uint64(gpa))
	if r == nil || n == 0 || n > r.Size-(uint64(gpa)-uint64(r.GPA)) {
		return Window{}, fmt.Errorf("guest address %#x, %d bytes: not in one region: %w", gpa, n, ErrOutside)
	}
	off := uint64(gpa) - uint64(r.GPA)
	return Window{base: unsafe.Pointer(&r.host[off]), size: n}, nil
}

// Size is the window's length in bytes.
func (w Window) Size() uint64 { return w.size }

func (w Window) at(off, n uint64) unsafe.Pointer {
	if off > w.size || n > w.size-off {
		panic(fmt.Sprintf("memory: window access at %d of %d", off, w.size))
	}
	return unsafe.Add(w.base, off)
}

// Load8 reads the byte at off.
func (w Window) Load8(off uint64) uint8 { return *(*uint8)(w.at(off, 1)) }

// Store8 writes the byte at off.
func (w Window) Store8(off uint64, v uint8) { *(*uint8)(w.at(off, 1)) = v }

// Load16 reads the little-endian word at off, which the caller keeps even. On
// amd64 a plain aligned load is atomic and an acquire; the compiler must not
// merge or move it, hence the call that is not inlined.
//
//go:noinline
func (w Window) Load16(off uint64) uint16 { return *(*uint16)(w.at(off, 2)) }

// Store16 writes the word at off, a release on amd64. A full barrier, which
// event-index handshakes need, is Fence.
//
//go:noinline
func (w Window) Store16(off uint64, v uint16) { *(*uint16)(w.at(off, 2)) = v }

// Load32 reads the double word at off, which the caller keeps 4-aligned.
func (w Window) Load32(off uint64) uint32 { return atomic.LoadUint32((*uint32)(w.at(off, 4))) }

// Store32 writes the double word at off, sequentially consistent.
func (w Window) Store32(off uint64, v uint32) { atomic.StoreUint32((*uint32)(w.at(off, 4)), v) }

// Load64 reads the quad word at off, which the caller keeps 8-aligned.
func (w Window) Load64(off uint64) uint64 { return atomic.LoadUint64((*uint64)(w.at(off, 8))) }

// Store64 writes the quad word at off, sequentially consistent.
func (w Window) Store64(off uint64, v uint64) { atomic.StoreUint64((*uint64)(w.at(off, 8)), v) }

// Fence orders every earlier store before every later load of this thread
// (an XCHG on amd64), as publishing an index and then reading the other
// side's suppression word requires (virtio 1.2, 2.7.10).
func Fence() {
	var word uint32
	atomic.SwapUint32(&word, 1)
}
