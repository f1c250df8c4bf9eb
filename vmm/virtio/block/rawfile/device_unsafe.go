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
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (page - 1)
	return b[skip : skip+uintptr(n)]
}
