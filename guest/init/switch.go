//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// carried are the mounts that move from the initramfs into the new root.
var carried = []string{"/dev", "/proc", "/sys", "/run"}

// switchRoot makes the file system on dir the root of everything, and frees the
// memory of the initramfs. The kernel has no pivot_root for an initramfs: its
// file system can't be unmounted, so it is emptied and covered
// (Documentation/filesystems/ramfs-rootfs-initramfs.rst).
func switchRoot(dir string) error {
	for _, m := range carried {
		target := dir + m
		if err := os.MkdirAll(target, 0o755); err != nil {
			return fmt.Errorf("the root has no directory %s and can't be written: add one, or lay a tmpfs over it (splitvm.overlay=tmpfs): %w", m, err)
		}
		if err := unix.Mount(m, target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s into the root: %w", m, err)
		}
	}
	if err := emptyInitramfs(); err != nil {
		logError(err) // costs memory only
	}
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	if err := unix.Mount(dir, "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root onto /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot to the root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	return nil
}

// emptyInitramfs deletes everything on the file system of /, which must be the
// initramfs and in memory.
func emptyInitramfs() error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		return fmt.Errorf("empty the initramfs: %w", err)
	}
	if fs.Type != unix.RAMFS_MAGIC && fs.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("empty the initramfs: / is no initramfs but a file system of type %#x", fs.Type)
	}
	var st unix.Stat_t
	if err := unix.Lstat("/", &st); err != nil {
		return fmt.Errorf("empty the initramfs: %w", err)
	}
	return deleteWithin("/", st.Dev)
}

// deleteWithin deletes what is in dir as far as it is on the device, never below
// a mount point.
func deleteWithin(dir string, dev uint64) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("empty the initramfs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		path := dir + "/" + e.Name()
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			errs = append(errs, fmt.Errorf("empty the initramfs: %s: %w", path, err))
			continue
		}
		if st.Dev != dev {
			continue // a mount point
		}
		if e.IsDir() {
			errs = append(errs, deleteWithin(path, dev))
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
