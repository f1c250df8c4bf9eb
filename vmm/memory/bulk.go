package memory

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
)

// maxVector is the most bytes that one system call moves, below the kernel's
// MAX_RW_COUNT (2 GiB less a page).
const maxVector = 1 << 30

// ReadAt fills p from guest RAM at gpa, by process_vm_readv(2) on ourselves:
// the kernel waits for absent pages. It fails with ErrOutside before anything
// is read when a byte of the range is not RAM.
func (m *Memory) ReadAt(p []byte, gpa layout.GPA) error {
	return m.bulk("read", p, gpa, unix.ProcessVMReadv)
}

// WriteAt puts p into guest RAM at gpa, by process_vm_writev(2) on ourselves.
// It fails with ErrOutside before anything is written when a byte of the
// range is not RAM.
func (m *Memory) WriteAt(p []byte, gpa layout.GPA) error {
	return m.bulk("write", p, gpa, unix.ProcessVMWritev)
}

type vmCall func(pid int, local []unix.Iovec, remote []unix.RemoteIovec, flags uint) (int, error)

func (m *Memory) bulk(what string, p []byte, gpa layout.GPA, call vmCall) error {
	if len(p) == 0 {
		return nil
	}
	views, err := m.Slices(gpa, uint64(len(p)))
	if err != nil {
		return fmt.Errorf("%s %d bytes of guest RAM: %w", what, len(p), err)
	}
	pid := os.Getpid()
	for _, v := range views {
		for len(v) > 0 {
			n, err := call(pid, vector(p[:min(len(v), maxVector)]), remoteVector(v[:min(len(v), maxVector)]), 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil || n <= 0 {
				return fmt.Errorf("%s guest RAM at %#x: %w", what, gpa, orShort(err))
			}
			p, v = p[n:], v[n:]
		}
	}
	return nil
}

// Fill reads n bytes of f from off on straight into guest RAM at gpa. A file
// that ends early is io.ErrUnexpectedEOF.
func (m *Memory) Fill(gpa layout.GPA, f *os.File, off int64, n uint64) error {
	views, err := m.Slices(gpa, n)
	if err != nil {
		return fmt.Errorf("fill guest RAM from %s: %w", f.Name(), err)
	}
	for _, v := range views {
		for len(v) > 0 {
			k, err := unix.Pread(int(f.Fd()), v[:min(len(v), maxVector)], off)
			if err == unix.EINTR {
				continue
			}
			if err != nil || k <= 0 {
				return fmt.Errorf("fill guest RAM at %#x from %s: %w", gpa, f.Name(), orShort(err))
			}
			v, off = v[k:], off+int64(k)
		}
	}
	return nil
}

func orShort(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}
