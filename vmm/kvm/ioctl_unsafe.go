package kvm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl issues op with a scalar argument and repeats it on EINTR, which the Go
// runtime's own signals cause at will.
func ioctl(fd int, op, arg uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), op, arg)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(r), nil
	}
}

// ioctlPtr issues op with a pointer, kept alive and in place for the call.
func ioctlPtr[T any](fd int, op uintptr, p *T) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), op, uintptr(unsafe.Pointer(p)))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(r), nil
	}
}

// ioctlBytes issues op with a structure laid out in p.
func ioctlBytes(fd int, op uintptr, p []byte) (int, error) {
	return ioctlPtr(fd, op, unsafe.SliceData(p))
}

// runIoctl is KVM_RUN: one try, the errno as it came.
func runIoctl(fd int) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), kvmRun, 0)
	return errno
}

// view lays a T over the run page at off.
func view[T any](page []byte, off int) *T {
	_ = page[off : off+int(unsafe.Sizeof(*new(T)))]
	return (*T)(unsafe.Pointer(&page[off]))
}

func sizeof[T any]() uintptr { return unsafe.Sizeof(*new(T)) }

// bytesOf is the memory of v, for structures that hold no pointers.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

func addrOf[T any](p []T) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) }
