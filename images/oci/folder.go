package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// tarFolder archives a folder: owners, modes, times, links, hard links, devices and
// extended attributes. Reading the archive to its end waits for all of it.
func tarFolder(ctx context.Context, dir string) (io.ReadCloser, error) {
	if _, err := os.ReadDir(dir); err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f := &folder{dir: dir, w: tar.NewWriter(w), seen: map[fileID]string{}}
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			return f.add(path)
		})
		if err == nil {
			err = f.w.Close()
		}
		w.CloseWithError(err)
	}()
	return &pipeEnd{r, ended}, nil
}

type pipeEnd struct {
	*io.PipeReader
	ended <-chan struct{}
}

func (p *pipeEnd) Close() error {
	err := p.PipeReader.Close()
	<-p.ended
	return err
}

type fileID struct{ dev, ino uint64 }

// folder is a folder that is being archived.
type folder struct {
	dir  string
	w    *tar.Writer
	seen map[fileID]string // files with several names: the first of these
}

func (f *folder) add(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil // of a program that runs, and nothing without it
	}
	name, err := filepath.Rel(f.dir, path)
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname = filepath.ToSlash(name), "", ""
	if info.IsDir() {
		h.Name += "/"
	}
	f.linkAgain(h, info)
	if h.PAXRecords, err = xattrs(path); err != nil {
		return err
	}
	if err := f.w.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if h.Typeflag != tar.TypeReg || h.Size == 0 {
		return nil
	}
	return f.copy(path)
}

// linkAgain makes a hard link of the entry if the file was there under another
// name.
func (f *folder) linkAgain(h *tar.Header, info fs.FileInfo) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Nlink < 2 || h.Typeflag != tar.TypeReg {
		return
	}
	id := fileID{st.Dev, st.Ino}
	if first, again := f.seen[id]; again {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		return
	}
	f.seen[id] = h.Name
}

func (f *folder) copy(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f.w, in)
	if err := errors.Join(err, in.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// xattrs reads the extended attributes of a file, as PAX records. Those that can't be
// read without rights, or that the file system has not, are left out.
func xattrs(path string) (map[string]string, error) {
	size, err := unix.Llistxattr(path, nil)
	if err != nil || size == 0 {
		return nil, ignore(err, unix.ENOTSUP, unix.EPERM, unix.EACCES)
	}
	list := make([]byte, size)
	if size, err = unix.Llistxattr(path, list); err != nil {
		return nil, fmt.Errorf("%s: extended attributes: %w", path, err)
	}
	records := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimRight(string(list[:size]), "\x00"), "\x00") {
		value := make([]byte, 64<<10) // the most that Linux has
		n, err := unix.Lgetxattr(path, name, value)
		if err = ignore(err, unix.ENODATA, unix.EPERM, unix.EACCES, unix.ENOTSUP); err != nil {
			return nil, fmt.Errorf("%s: extended attribute %s: %w", path, name, err)
		}
		if n > 0 {
			records["SCHILY.xattr."+name] = string(value[:n])
		}
	}
	return records, nil
}

func ignore(err error, kinds ...error) error {
	if slices.ContainsFunc(kinds, func(k error) bool { return errors.Is(err, k) }) {
		return nil
	}
	return err
}
