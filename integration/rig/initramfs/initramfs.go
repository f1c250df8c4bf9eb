// Package initramfs writes the cpio archive that a Linux kernel unpacks as its
// first root file system, and finds the order in which kernel modules load.
// It takes files from the host, never from a package manager or a mount.
package initramfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// A Builder writes an archive. Paths in it are as in the file system that it
// becomes ("/bin/busybox"); folders on the way to them are made as needed.
// An error is kept and returned by every later call.
type Builder struct {
	out  *cpio.Writer
	made map[string]bool // paths in the archive, without the leading slash
	err  error
}

// New returns a builder that writes to w.
func New(w io.Writer) *Builder {
	return &Builder{out: cpio.NewWriter(w), made: map[string]bool{"": true}}
}

// Dir adds a folder.
func (b *Builder) Dir(name string, perm fs.FileMode) error {
	name = clean(name)
	if b.err != nil || b.made[name] {
		return b.err
	}
	b.parents(name)
	b.put(name, cpio.TypeDir|cpio.FileMode(perm.Perm()), 0, nil)
	return b.err
}

// File adds a file of size bytes, read from r.
func (b *Builder) File(name string, perm fs.FileMode, size int64, r io.Reader) error {
	name = clean(name)
	switch {
	case b.err != nil:
	case b.made[name]:
		b.err = fmt.Errorf("initramfs: /%s is given twice", name)
	default:
		b.parents(name)
		b.put(name, cpio.TypeReg|cpio.FileMode(perm.Perm()), size, r)
	}
	return b.err
}

// Text adds a file of the given text.
func (b *Builder) Text(name string, perm fs.FileMode, text string) error {
	return b.File(name, perm, int64(len(text)), strings.NewReader(text))
}

// Symlink adds a symbolic link.
func (b *Builder) Symlink(name, target string) error {
	name = clean(name)
	switch {
	case b.err != nil:
	case b.made[name]:
		b.err = fmt.Errorf("initramfs: /%s is given twice", name)
	default:
		b.parents(name)
		b.put(name, cpio.TypeSymlink|0o777, int64(len(target)), strings.NewReader(target))
	}
	return b.err
}

// Host adds a file or a folder of the host under the given name. Symbolic links
// below a folder are kept as such; the one that is named itself is followed.
func (b *Builder) Host(name, hostPath string) error {
	info, err := os.Stat(hostPath)
	switch {
	case b.err != nil:
	case err != nil:
		b.err = fmt.Errorf("initramfs: %w", err)
	case info.IsDir():
		b.err = filepath.WalkDir(hostPath, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(hostPath, p)
			if err != nil {
				return err
			}
			return b.hostEntry(path.Join(name, filepath.ToSlash(rel)), p, d)
		})
	default:
		b.hostFile(name, hostPath)
	}
	return b.err
}

func (b *Builder) hostEntry(name, hostPath string, d fs.DirEntry) error {
	switch {
	case d.IsDir():
		info, err := d.Info()
		if err != nil {
			return err
		}
		return b.Dir(name, info.Mode())
	case d.Type() == fs.ModeSymlink:
		target, err := os.Readlink(hostPath)
		if err != nil {
			return err
		}
		return b.Symlink(name, target)
	case d.Type().IsRegular():
		return b.hostFile(name, hostPath)
	}
	return fmt.Errorf("initramfs: %s is no file, folder or link", hostPath)
}

func (b *Builder) hostFile(name, hostPath string) error {
	f, err := os.Open(hostPath)
	if err != nil {
		b.err = fmt.Errorf("initramfs: %w", err)
		return b.err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		b.err = fmt.Errorf("initramfs: %w", err)
		return b.err
	}
	return b.File(name, info.Mode(), info.Size(), f)
}

// Close ends the archive.
func (b *Builder) Close() error {
	if b.err == nil {
		b.err = b.out.Close()
	}
	return b.err
}

func (b *Builder) parents(name string) {
	if dir := path.Dir(name); dir != "." {
		b.Dir(dir, 0o755)
	}
}

func (b *Builder) put(name string, mode cpio.FileMode, size int64, r io.Reader) {
	if b.err != nil {
		return
	}
	b.made[name] = true
	if size >= 1<<32 { // the header's fields are 8 hexadecimal digits
		b.err = fmt.Errorf("initramfs: /%s has %d bytes, too many for a cpio archive", name, size)
		return
	}
	if b.err = b.out.WriteHeader(&cpio.Header{Name: name, Mode: mode, Size: size, Links: 1}); b.err != nil || size == 0 {
		return
	}
	if _, err := io.CopyN(b.out, r, size); err != nil {
		b.err = fmt.Errorf("initramfs: /%s: %w", name, err)
	}
}

// clean makes a path in the archive: relative to its root, and not out of it.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }
