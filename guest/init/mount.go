//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mountPoint is a file system of the kernel's that every guest has.
type mountPoint struct {
	fstype, path string
	flags        uintptr
	options      string
	optional     bool // the kernel may lack it
}

var kernelFilesystems = []mountPoint{
	{"proc", "/proc", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, "", false},
	{"sysfs", "/sys", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, "", false},
	{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755", false},
	{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666", true},
	{"tmpfs", "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777", false},
	{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755", false},
	{"cgroup2", "/sys/fs/cgroup", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, "", true},
}

// mountKernelFilesystems mounts them in the initramfs. One that the kernel has
// mounted itself is left as it is.
func mountKernelFilesystems() error {
	for _, m := range kernelFilesystems {
		if err := os.MkdirAll(m.path, 0o755); err != nil && !m.optional {
			return fmt.Errorf("make the mount point %s: %w", m.path, err)
		}
		err := unix.Mount(m.fstype, m.path, m.fstype, m.flags, m.options)
		if err != nil && !errors.Is(err, unix.EBUSY) && !m.optional {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.path, err)
		}
	}
	for link, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		_ = os.Symlink(target, link) // devtmpfs has them not; whoever made them already was right too
	}
	return nil
}
