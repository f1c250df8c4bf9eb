package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// pull writes a file, or a folder with all in it, as a tar archive whose names
// begin with its last element.
func pull(w io.Writer, name string) error {
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
		return pullOne(out, path, rel, info)
	})
	return errors.Join(err, out.Close())
}

func pullOne(out *tar.Writer, path, rel string, info os.FileInfo) error {
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

// push unpacks a tar archive below dir, which is made where it is not there.
func push(r io.Reader, dir string) error {
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
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if err := pushOne(root, h, in); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func pushOne(root *os.Root, h *tar.Header, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(h.Name, h.FileInfo().Mode().Perm())
	case tar.TypeSymlink:
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
