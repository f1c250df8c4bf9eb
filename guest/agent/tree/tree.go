// Package tree copies files and directories as tar archives, the way cp -r
// does: between a guest and its host, each of which takes the other's archive
// for hostile.
//
// Files, directories and symbolic links are copied, with their modes and times;
// owners are not: what is unpacked belongs to who unpacks it. Hard links become
// files of their own.
package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Pack writes an archive of the file or directory at path, whose name is the
// first of every entry's.
func Pack(w io.Writer, path string) error {
	path = filepath.Clean(path)
	t := tar.NewWriter(w)
	top := filepath.Base(path)
	err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		return add(t, p, filepath.Join(top, rel), e)
	})
	if err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	return nil
}

// add writes one entry.
func add(t *tar.Writer, p, name string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	h := &tar.Header{Name: strings.TrimPrefix(filepath.ToSlash(name), "/"), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Format: tar.FormatPAX}
	switch info.Mode().Type() {
	case 0:
		return addFile(t, p, h)
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(p); err != nil {
			return err
		}
	default:
		return nil // a device, a pipe or a socket: nothing to copy
	}
	return t.WriteHeader(h)
}

// addFile writes a file as long as it is when it is opened. One that shrinks
// meanwhile is an error, as an archive can't have a hole.
func addFile(t *tar.Writer, p string, h *tar.Header) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if n, err := io.CopyN(t, f, h.Size); err != nil {
		return fmt.Errorf("%s: %d bytes of %d: %w", p, n, h.Size, err)
	}
	return nil
}

var (
	errKind = errors.New("neither a file, a directory nor a symbolic link")
	errPath = errors.New("not a path within the archive's directory")
)

// Unpack writes an archive's tree to path: into it, if it is a directory, or
// as it, if there is nothing of that name or a file. Nothing is written outside
// of path, or of its directory, whatever the archive says.
func Unpack(r io.Reader, path string) error {
	dir, rename := path, ""
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		if strings.HasSuffix(path, "/") {
			return fmt.Errorf("unpack to %s: there is no such directory", path)
		}
		dir, rename = filepath.Dir(path), filepath.Base(path)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack to %s: %w", path, err)
	}
	defer root.Close()
	u := unpacker{root: root, rename: rename}
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return u.finish()
		}
		if err == nil {
			err = u.entry(h, t)
		}
		if err != nil {
			return fmt.Errorf("unpack to %s: %w", path, err)
		}
	}
}

// unpacker writes entries below a directory.
type unpacker struct {
	root   *os.Root
	rename string       // of the first name of each entry; empty: as it is
	dirs   []tar.Header // whose modes and times are set when they are full
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name, err := u.name(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.root.MkdirAll(name, 0o700); err != nil {
			return err
		}
		u.dirs = append(u.dirs, tar.Header{Name: name, Mode: h.Mode, ModTime: h.ModTime})
		return nil
	case tar.TypeReg:
		return u.file(name, h, content)
	case tar.TypeSymlink:
		if err := u.clear(name); err != nil {
			return err
		}
		return u.root.Symlink(h.Linkname, name)
	}
	return fmt.Errorf("%s: %w", h.Name, errKind)
}

// name is where an entry goes.
func (u *unpacker) name(s string) (string, error) {
	s = path.Clean(s)
	if !filepath.IsLocal(s) {
		return "", fmt.Errorf("%q: %w", s, errPath)
	}
	if u.rename == "" {
		return s, nil
	}
	_, rest, _ := strings.Cut(s, "/")
	return path.Join(u.rename, rest), nil
}

// clear makes room for a file or a link: what is there is not written through.
func (u *unpacker) clear(name string) error {
	info, err := u.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || info.IsDir() {
		return errors.Join(err, fmt.Errorf("%s: a directory is in the way", name))
	}
	return u.root.Remove(name)
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	if err := u.clear(name); err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	err = errors.Join(err, f.Chmod(fs.FileMode(h.Mode).Perm()), f.Close())
	return errors.Join(err, u.root.Chtimes(name, h.ModTime, h.ModTime))
}

// finish gives directories their modes and times, the innermost first.
func (u *unpacker) finish() error {
	var errs []error
	for i := len(u.dirs) - 1; i >= 0; i-- {
		d := u.dirs[i]
		errs = append(errs, u.root.Chmod(d.Name, fs.FileMode(d.Mode).Perm()), u.root.Chtimes(d.Name, d.ModTime, d.ModTime))
	}
	return errors.Join(errs...)
}
