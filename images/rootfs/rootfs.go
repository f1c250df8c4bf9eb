// Package rootfs makes small root disks for Linux guests out of files: an ext4
// image that can be written, or a squashfs that can't. The images are file
// systems without a partition table, so that /dev/vda is the root.
//
// The file systems are made by Debian's own tools, mke2fs (package e2fsprogs,
// whose -d needs no mount and no root) and mksquashfs (package squashfs-tools).
// go-diskfs writes neither extended attributes into squashfs nor hard links into
// ext4. Owners: everything belongs to the guest's root in a squashfs; in an ext4,
// to whoever runs this.
//
// Nothing is left behind but the image, which appears when it is complete.
package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// File is a file, directory or symbolic link of an image.
type File struct {
	Path string      // absolute, in the guest
	Mode fs.FileMode // with fs.ModeDir or fs.ModeSymlink for those
	Data []byte      // its content, or the link's target
	From string      // instead of Data: the path of a file on the host
}

// Image says what is made.
type Image struct {
	Dir   string // a directory of the host whose content goes in first; may be empty
	Files []File // over it; the latter of the same path wins
	Label string // ext4 only, up to 16 bytes
	Free  int64  // ext4 only: bytes that are to be left free, about
}

// Type is the file system of an image.
type Type string

// The types.
const (
	Ext4     Type = "ext4"
	Squashfs Type = "squashfs"
)

// ErrNoTool is wrapped by the error of Make if a program is not installed.
var ErrNoTool = errors.New("not installed")

// Make makes an image of the type in the file out, which is replaced if it is
// there.
func Make(ctx context.Context, out string, t Type, i Image) error {
	if err := build(ctx, out, t, i); err != nil {
		return fmt.Errorf("make the %s image %s: %w", t, out, err)
	}
	return nil
}

func build(ctx context.Context, out string, t Type, i Image) (err error) {
	work, err := os.MkdirTemp(filepath.Dir(out), ".rootfs.")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	tree, image := filepath.Join(work, "tree"), filepath.Join(work, "image")
	if err := stage(tree, i); err != nil {
		return err
	}
	switch t {
	case Ext4:
		err = makeExt4(ctx, image, tree, i)
	case Squashfs:
		err = run(ctx, "mksquashfs", "squashfs-tools", tree, image, "-noappend", "-all-root", "-no-progress", "-quiet")
	default:
		err = fmt.Errorf("unknown type; use %s or %s", Ext4, Squashfs)
	}
	if err != nil {
		return err
	}
	return os.Rename(image, out)
}

// makeExt4 makes the image of the tree with room for i.Free more. Inode tables
// and journal are initialised here, so that the guest's kernel does no more of it
// in the background of whatever is measured there.
func makeExt4(ctx context.Context, image, tree string, i Image) error {
	if len(i.Label) > 16 {
		return fmt.Errorf("label %q has more than 16 bytes", i.Label)
	}
	used, err := treeBytes(tree)
	if err != nil {
		return err
	}
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	err = errors.Join(f.Truncate(ext4Size(used+i.Free)), f.Close())
	if err != nil {
		return err
	}
	return run(ctx, "mke2fs", "e2fsprogs", "-q", "-F", "-t", string(Ext4), "-L", i.Label, "-m", "0", "-b", "4096",
		"-E", "lazy_itable_init=0,lazy_journal_init=0", "-d", tree, image)
}

// Format makes an empty ext4 on the file or device, whose size it takes. What it
// leaves to the kernel to initialise is not written, so that a file stays sparse.
func Format(ctx context.Context, path, label string) error {
	if len(label) > 16 {
		label = label[:16]
	}
	if err := run(ctx, "mke2fs", "e2fsprogs", "-q", "-F", "-t", string(Ext4), "-L", label, "-m", "0", "-E", "root_owner=0:0", path); err != nil {
		return fmt.Errorf("make an ext4 on %s: %w", path, err)
	}
	return nil
}

// ext4Size is the size of an image that holds the content: an eighth more for
// inodes, journal and rounding, and at least what mke2fs makes a journal for.
func ext4Size(content int64) int64 {
	const mib = 1 << 20
	size := content + content/8 + 16*mib
	return (size + mib - 1) / mib * mib
}

// treeBytes is the size of the files below dir, each rounded up to blocks.
func treeBytes(dir string) (int64, error) {
	const block = 4096
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += block + (info.Size()+block-1)/block*block
		return nil
	})
	return total, err
}

// run runs a program that the Debian package has.
func run(ctx context.Context, program, pkg string, args ...string) error {
	path, err := find(program)
	if err != nil {
		return fmt.Errorf("%s is %w: apt-get install %s", program, ErrNoTool, pkg)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, errors.Join(ctx.Err(), err), strings.TrimSpace(out.String()))
	}
	return nil
}

// find finds a program in PATH, or where programs for root are, which other
// users' PATH lacks.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}
