package onesided

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// NewFile makes a file of memory that keeps its size, for an index or a slab.
func NewFile(name string, size int) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := f.Truncate(int64(size)); err != nil {
		f.Close()
		return nil, fmt.Errorf("memory file of %d MiB: %w", size>>20, err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal memory file: %w", err)
	}
	return f, nil
}

// ReadOnly opens a file of NewFile once more, for who may only read it.
func ReadOnly(f *os.File) (*os.File, error) {
	r, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("share memory for reading: %w", err)
	}
	return r, nil
}

// size returns the size of a file that can't shrink.
func size(f *os.File) (int, error) {
	if s, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || s&unix.F_SEAL_SHRINK == 0 {
		return 0, fmt.Errorf("%s is no sealed memory file", f.Name())
	}
	st, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("memory file: %w", err)
	}
	return int(st.Size()), nil
}
