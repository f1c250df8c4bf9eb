package initramfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"

	"splitvm/guest/init/cmdline"
)

// File is a file of an archive.
type File struct {
	Path string      // in the guest, absolute
	Mode fs.FileMode // permissions, set-user-id and the like; fs.ModeSymlink for a link
	Data []byte      // its content, or the link's target
}

// maxFileBytes bounds a file of an archive: the format has 32 bits, and the
// guest holds it in memory twice.
const maxFileBytes = 1 << 31

// Overlay writes an archive of the files, and of the directories that they are
// in. Later files with a path that was there replace earlier ones.
func Overlay(w io.Writer, files ...File) error {
	entries := map[string]File{}
	for _, f := range files {
		name := strings.TrimPrefix(path.Clean("/"+f.Path), "/")
		if name == "" {
			return fmt.Errorf("initramfs: %q is no path of a file", f.Path)
		}
		if len(f.Data) > maxFileBytes {
			return fmt.Errorf("initramfs: %s has %d bytes, more than %d: put it onto a disk", f.Path, len(f.Data), maxFileBytes)
		}
		entries[name] = f
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if have, ok := entries[dir]; ok && !have.Mode.IsDir() {
				return fmt.Errorf("initramfs: /%s can't be in /%s, which is a file", name, dir)
			}
			entries[dir] = File{Mode: fs.ModeDir | 0o755}
		}
	}
	archive := cpio.NewWriter(w)
	for i, name := range slices.Sorted(maps.Keys(entries)) { // directories sort before what is in them
		if err := add(archive, name, entries[name], int64(i+1)); err != nil {
			return fmt.Errorf("initramfs: write /%s: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return nil
}

// Padding gives the zeroes that go between an archive of the size and another
// that is appended: an uncompressed archive must begin at a multiple of 4 bytes,
// and a compressed one before it can end anywhere.
func Padding(size int64) []byte { return make([]byte, -size&3) }

// CommandFile is the file that tells init a Command too long for the kernel's
// command line.
func CommandFile(c cmdline.Command) (File, error) {
	data, err := c.JSON()
	if err != nil {
		return File{}, err
	}
	return File{Path: cmdline.CommandFile, Mode: 0o600, Data: data}, nil
}

func add(archive *cpio.Writer, name string, f File, inode int64) error {
	h := &cpio.Header{Name: name, Mode: mode(f.Mode), Inode: inode, Links: 1, Size: int64(len(f.Data))}
	if f.Mode.IsDir() {
		h.Links, h.Size, f.Data = 2, 0, nil
	}
	if err := archive.WriteHeader(h); err != nil {
		return err
	}
	if len(f.Data) == 0 {
		return nil
	}
	_, err := archive.Write(f.Data)
	return err
}

// mode gives the bits of st_mode that go into an archive.
func mode(m fs.FileMode) cpio.FileMode {
	bits := cpio.FileMode(m.Perm())
	for from, to := range map[fs.FileMode]cpio.FileMode{
		fs.ModeSetuid: cpio.ModeSetuid, fs.ModeSetgid: cpio.ModeSetgid, fs.ModeSticky: cpio.ModeSticky,
	} {
		if m&from != 0 {
			bits |= to
		}
	}
	switch {
	case m.IsDir():
		return bits | cpio.TypeDir
	case m&fs.ModeSymlink != 0:
		return 0o777 | cpio.TypeSymlink
	}
	return bits | cpio.TypeReg
}
