// Package iovec is readv(2) and writev(2) on host views of guest memory,
// without an allocation per call.
//
// It differs from unix.Readv and unix.Writev, which make the kernel's vector
// anew each time; a Vector is one that is kept. The calls go through
// syscall.Syscall, so the scheduler knows when a page of guest memory is long
// in coming.
package iovec

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Vector is what one call moves. The zero Vector is empty. It holds on to what
// was added until Reset.
type Vector struct {
	iovs []unix.Iovec
}

// Reset empties the vector.
func (v *Vector) Reset() {
	clear(v.iovs)
	v.iovs = v.iovs[:0]
}

// Add appends views. Empty ones, which have no address, are left out.
func (v *Vector) Add(views ...[]byte) {
	for _, p := range views {
		if len(p) > 0 {
			v.iovs = append(v.iovs, unix.Iovec{Base: unsafe.SliceData(p), Len: uint64(len(p))})
		}
	}
}

// ReadFrom fills the views from fd, as far as one readv does. Its error is the
// bare errno; EINVAL if there are more than 1024 views.
func (v *Vector) ReadFrom(fd int) (int, error) { return v.call(unix.SYS_READV, fd) }

// WriteTo writes the views to fd, as far as one writev does; errors as for
// ReadFrom.
func (v *Vector) WriteTo(fd int) (int, error) { return v.call(unix.SYS_WRITEV, fd) }

func (v *Vector) call(number uintptr, fd int) (int, error) {
	for {
		n, _, errno := unix.Syscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v.iovs))), uintptr(len(v.iovs)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
