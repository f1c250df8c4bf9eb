package rawfile

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// discardDevice is BLKDISCARD (linux/fs.h).
func discardDevice(fd int, off, n uint64) error {
	span := [2]uint64{off, n}
	return again(func() error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKDISCARD, uintptr(unsafe.Pointer(&span))); errno != 0 {
			return errno
		}
		return nil
	})
}

// pageAligned makes n zero bytes that begin on a page.
func pageAligned(n int) []byte {
	const page = 4096
	b := make([]byte, n+page)
	skip := -address(b) & (page - 1)
	return b[skip : skip+uint64(n)]
}

func address(v []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(v)))) }

func vector(p []byte) []unix.Iovec {
	v := []unix.Iovec{{Base: unsafe.SliceData(p)}}
	v[0].SetLen(len(p))
	return v
}

func remoteVector(p []byte) []unix.RemoteIovec {
	return []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(unsafe.SliceData(p))), Len: len(p)}}
}
