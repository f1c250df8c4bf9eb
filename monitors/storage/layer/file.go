package layer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// File is one of a layer's files.
type File interface {
	// ReadAt and WriteAt are as in package io.
	io.ReaderAt
	io.WriterAt
	// ReadNow is ReadAt for what is in memory; false if that is not all of it.
	ReadNow(p []byte, off int64) bool
	// Sync returns when all that was written is on stable storage.
	Sync() error
	// Punch frees n bytes at off; they read as zeroes.
	Punch(off, n int64) error
	// Data returns the next stretch from off on that may be other than zeroes;
	// start is at the file's end if there is none.
	Data(off int64) (start, end int64, err error)
	// Used returns how many bytes the file occupies.
	Used() (uint64, error)
	io.Closer
}

// Files are what a layer is made of.
type Files struct{ A, B, Map File }

var fileNames = [...]string{"a", "b", "map"}

// makeFiles makes the files of a new layer in dir, which must not exist.
func makeFiles(dir string, blocks uint64) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, name := range fileNames {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		size := int64(blocks * BlockSize)
		if name == "map" {
			size = mapSize(blocks)
		}
		if err := errors.Join(f.Truncate(size), f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func openFiles(dir string, readOnly bool) (Files, error) {
	var open [len(fileNames)]File
	for i, name := range fileNames {
		f, err := openFile(filepath.Join(dir, name), readOnly)
		if err != nil {
			for _, f := range open[:i] {
				f.Close()
			}
			return Files{}, err
		}
		open[i] = f
	}
	return Files{open[0], open[1], open[2]}, nil
}

// diskFile is a File of the operating system. It makes the calls itself: they
// are short, and package os adds a third to each.
type diskFile struct {
	fd   int
	name string
}

func openFile(name string, readOnly bool) (*diskFile, error) {
	mode := unix.O_RDWR
	if readOnly {
		mode = unix.O_RDONLY
	}
	fd, err := unix.Open(name, mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return &diskFile{fd: fd, name: name}, nil
}

func (f *diskFile) wrap(what string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fmt.Errorf("%s %s: %w", what, f.name, err)
}

// ReadAt implements io.ReaderAt.
func (f *diskFile) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(f.fd, p[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return done, f.wrap("read", err)
		case n == 0:
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

// ReadNow implements File.
func (f *diskFile) ReadNow(p []byte, off int64) bool {
	n, err := unix.Preadv2(f.fd, [][]byte{p}, off, unix.RWF_NOWAIT)
	return err == nil && n == len(p)
}

// WriteAt implements io.WriterAt.
func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pwrite(f.fd, p[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return done, f.wrap("write", err)
		case n == 0:
			return done, f.wrap("write", io.ErrShortWrite)
		}
		done += n
	}
	return done, nil
}

// Sync implements File.
func (f *diskFile) Sync() error {
	for {
		if err := unix.Fdatasync(f.fd); err != unix.EINTR {
			return f.wrap("fdatasync", err)
		}
	}
}

// Punch implements File.
func (f *diskFile) Punch(off, n int64) error {
	for {
		err := unix.Fallocate(f.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EOPNOTSUPP { // this file system keeps what it has
			return nil
		}
		return f.wrap("punch a hole into", err)
	}
}

// Data implements File.
func (f *diskFile) Data(off int64) (start, end int64, err error) {
	size, err := unix.Seek(f.fd, 0, unix.SEEK_END)
	if err != nil {
		return 0, 0, f.wrap("seek in", err)
	}
	if off >= size {
		return size, size, nil
	}
	start, err = unix.Seek(f.fd, off, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO:
		return size, size, nil
	case err == unix.EINVAL: // a file system without the notion
		return off, size, nil
	case err != nil:
		return 0, 0, f.wrap("seek in", err)
	}
	end, err = unix.Seek(f.fd, start, unix.SEEK_HOLE)
	return start, end, f.wrap("seek in", err)
}

// Used implements File.
func (f *diskFile) Used() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, f.wrap("stat", err)
	}
	return uint64(st.Blocks) * 512, nil
}

// Close implements io.Closer.
func (f *diskFile) Close() error { return f.wrap("close", unix.Close(f.fd)) }
