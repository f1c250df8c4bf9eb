package net

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// appendIovecs appends the views as the kernel takes them. Empty ones, which
// have no address, are left out.
func appendIovecs(dst []unix.Iovec, views [][]byte) []unix.Iovec {
	for _, v := range views {
		if len(v) > 0 {
			dst = append(dst, unix.Iovec{Base: unsafe.SliceData(v), Len: uint64(len(v))})
		}
	}
	return dst
}

// readv and writev are the system calls without x/sys's allocation of vectors.
// They go by Syscall, as a page of guest memory may be long in coming.
func readv(fd int, iovs []unix.Iovec) (int, error) { return vectored(unix.SYS_READV, fd, iovs) }

func writev(fd int, iovs []unix.Iovec) (int, error) { return vectored(unix.SYS_WRITEV, fd, iovs) }

func vectored(call uintptr, fd int, iovs []unix.Iovec) (int, error) {
	for {
		n, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iovs))), uintptr(len(iovs)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
