//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"splitvm/guest/init/cmdline"
	"splitvm/guest/init/superblock"
)

// Places in the initramfs.
const (
	newRoot     = "/root.new"
	overlayDir  = "/root.overlay" // a tmpfs with the three below
	overlayDisk = overlayDir + "/disk"
	overlayUp   = overlayDir + "/upper"
	overlayWork = overlayDir + "/work"
)

// prepareRoot mounts the root that cfg asks for and switches to it, or leaves
// the guest in the initramfs if it asks for none.
func prepareRoot(cfg cmdline.Config, l *loader) error {
	if cfg.Root.Device.Kind == cmdline.NoDevice {
		return nil
	}
	wait := cfg.Root.Wait
	if wait == 0 {
		wait = cmdline.DefaultRootWait
	}
	d, err := waitForDisk(cfg.Root.Device, wait)
	if err != nil {
		return err
	}
	step("root device found")
	mount := mountDisk
	if cfg.Root.Overlay {
		mount = mountOverlay
	}
	if err := mount(cfg.Root, d, l, newRoot); err != nil {
		return err
	}
	step("root mounted")
	further, err := findMounts(cfg, l, wait)
	if err != nil {
		return err
	}
	if err := switchRoot(newRoot); err != nil {
		return err
	}
	step("root switched")
	if err := coverTmp(cfg.Root.Overlay); err != nil {
		return err
	}
	return mountFurther(cfg, further, l)
}

// coverTmp gives a root that can't be written a /tmp that can, if it has one.
func coverTmp(overlaid bool) error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		return fmt.Errorf("look at the root: %w", err)
	}
	if overlaid || fs.Flags&unix.ST_RDONLY == 0 {
		return nil
	}
	err := unix.Mount("tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("mount a tmpfs on /tmp: %w", err)
	}
	return nil
}

// mountDisk mounts the disk on the directory, which it makes. A disk that can't
// be written is mounted read-only even if that was not asked for.
func mountDisk(r cmdline.Root, d disk, l *loader, dir string) error {
	fstype := r.FSType
	if fstype == "" {
		fstype = d.info.Type
	}
	if fstype == "" {
		return fmt.Errorf("mount %s: neither %s, %s nor %s is on it: make it with one, or say rootfstype=", d.path,
			superblock.Ext4, superblock.Squashfs, superblock.Erofs)
	}
	l.loadFor("fs-" + fstype)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	flags, options := mountOptions(r.Flags)
	if r.ReadOnly || d.info.ReadOnly() {
		flags |= unix.MS_RDONLY
	}
	err := unix.Mount(d.path, dir, fstype, flags, options)
	if flags&unix.MS_RDONLY == 0 && (errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES)) {
		logf("%s can't be written: mounted read-only", d.path)
		err = unix.Mount(d.path, dir, fstype, flags|unix.MS_RDONLY, options)
	}
	if err != nil {
		return fmt.Errorf("mount %s as %s: %w%s", d.path, fstype, err, mountAdvice(err))
	}
	return nil
}

// mountFlags are the options which are not the file system's but the kernel's, as
// mount(8) has them.
var mountFlags = map[string]uintptr{
	"rw": 0, "ro": unix.MS_RDONLY, "noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
	"strictatime": unix.MS_STRICTATIME, "lazytime": unix.MS_LAZYTIME, "sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC,
	"nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
}

// mountOptions tells the kernel's options from the file system's own.
func mountOptions(list string) (flags uintptr, options string) {
	var rest []string
	for _, o := range strings.Split(list, ",") {
		f, ok := mountFlags[o]
		if !ok {
			rest = append(rest, o)
		}
		flags |= f
	}
	return flags, strings.Join(rest, ",")
}

// mountAdvice says what most often causes the error.
func mountAdvice(err error) string {
	switch {
	case errors.Is(err, unix.ENODEV):
		return ": the kernel has no such file system, and the initramfs no module of it"
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EUCLEAN):
		return ": the file system is damaged or cut off, or its mount options are wrong; the kernel log says more"
	}
	return ""
}

// mountUpper mounts on overlayDir what takes the writes.
func mountUpper(r cmdline.Root, l *loader) error {
	if r.OverlayDevice.Kind != cmdline.NoDevice {
		d, err := waitForDisk(r.OverlayDevice, cmdline.DefaultRootWait)
		if err != nil {
			return fmt.Errorf("the overlay's disk: %w", err)
		}
		return mountDisk(cmdline.Root{}, d, l, overlayDir)
	}
	options := "mode=0755"
	if r.OverlaySize != "" {
		options += ",size=" + r.OverlaySize
	}
	if err := os.MkdirAll(overlayDir, 0o755); err != nil {
		return fmt.Errorf("make the overlay: %w", err)
	}
	if err := unix.Mount("tmpfs", overlayDir, "tmpfs", 0, options); err != nil {
		return fmt.Errorf("mount the overlay's tmpfs (%s): %w", options, err)
	}
	return nil
}

// mountOverlay mounts on the directory the disk, read-only, with a tmpfs or another
// disk over it.
func mountOverlay(r cmdline.Root, d disk, l *loader, dir string) error {
	l.loadFor("fs-overlay")
	if err := mountUpper(r, l); err != nil {
		return err
	}
	for _, sub := range []string{overlayUp, overlayWork, dir} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return fmt.Errorf("make the overlay: %w", err)
		}
	}
	r.ReadOnly = true
	if err := mountDisk(r, d, l, overlayDisk); err != nil {
		return err
	}
	layers := strings.Join([]string{"lowerdir=" + overlayDisk, "upperdir=" + overlayUp, "workdir=" + overlayWork}, ",")
	if err := unix.Mount("overlay", dir, "overlay", 0, layers); err != nil {
		return fmt.Errorf("mount the overlay over %s: %w%s", d.path, err, mountAdvice(err))
	}
	// The overlay holds its layers; their mounts are of no more use to anyone.
	for _, m := range []string{overlayDisk, overlayDir} {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("detach %s: %w", m, err)
		}
	}
	return nil
}
