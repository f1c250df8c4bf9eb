// Package archive copies files and folders as tar archives between the host and
// the rig's machine. It keeps names, contents, permissions and symbolic links,
// not owners, times or anything else.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Write writes a file, or a folder with all in it, as a tar archive whose names
// begin with its last element.
func Write(w io.Writer, name string) error {
	name = filepath.Clean(name)
	out := tar.NewWriter(w)
	err := filepath.Walk(name, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(filepath.Dir(name), path)
		if err != nil {
			return err
		}
		return writeOne(out, path, rel, info)
	})
	return errors.Join(err, out.Close())
}

func writeOne(out *tar.Writer, path, rel string, info os.FileInfo) error {
	var target string
	if info.Mode()&os.ModeSymlink != 0 {
		var err error
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	h.Name = rel
	if err := out.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(out, f, h.Size)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s got shorter while it was read", path)
	}
	return err
}

// Unpack unpacks an archive below dir, which is made where it is not there, to
// its end. Nothing in it gets out of dir.
func Unpack(r io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r) // its padding
			return err
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if err := unpackOne(root, h, in); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func unpackOne(root *os.Root, h *tar.Header, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(h.Name, h.FileInfo().Mode().Perm())
	case tar.TypeSymlink:
		if err := root.Remove(h.Name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return root.Symlink(h.Linkname, h.Name)
	case tar.TypeReg:
		if err := root.MkdirAll(filepath.Dir(h.Name), 0o755); err != nil {
			return err
		}
		f, err := root.OpenFile(h.Name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, h.FileInfo().Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	}
	return fmt.Errorf("a tar entry of type %q", h.Typeflag)
}
