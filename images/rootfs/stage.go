package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// stage lays the files of i out below dir, which it makes.
func stage(dir string, i Image) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask is
		return err
	}
	if i.Dir != "" {
		if err := copyTree(dir, i.Dir); err != nil {
			return fmt.Errorf("copy %s: %w", i.Dir, err)
		}
	}
	root, err := os.OpenRoot(dir) // links in the tree must not lead out of it
	if err != nil {
		return err
	}
	for _, f := range i.Files {
		if err := place(root, f); err != nil {
			return errors.Join(fmt.Errorf("file %s of the image: %w", f.Path, err), root.Close())
		}
	}
	return root.Close()
}

// copyTree copies what is in src, with modes, links and times.
func copyTree(dst, src string) error {
	return filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return copyEntry(filepath.Join(dst, rel), p, info)
	})
}

func copyEntry(dst, src string, info fs.FileInfo) error {
	switch {
	case info.IsDir():
		if err := os.MkdirAll(dst, 0o755); err != nil {
			return err
		}
		return os.Chmod(dst, info.Mode())
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(src)
		if err != nil {
			return err
		}
		return os.Symlink(target, dst)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is neither a file, a directory nor a link", src)
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(fill(out, src), out.Chmod(info.Mode()), out.Close(), os.Chtimes(dst, info.ModTime(), info.ModTime()))
}

// fill copies the file src into out.
func fill(out io.Writer, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(out, in)
	return err
}

// place makes one file below the root, in place of what is there.
func place(root *os.Root, f File) error {
	name := path.Clean("/" + f.Path)[1:]
	if name == "" {
		return errors.New("no path of a file")
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if f.Mode.IsDir() {
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
		return root.Chmod(name, f.Mode)
	}
	if err := root.RemoveAll(name); err != nil {
		return err
	}
	if f.Mode&fs.ModeSymlink != 0 {
		return root.Symlink(string(f.Data), name)
	}
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if f.From != "" {
		err = fill(out, f.From)
	} else {
		_, err = out.Write(f.Data)
	}
	return errors.Join(err, out.Chmod(f.Mode), out.Close())
}
