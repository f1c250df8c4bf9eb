package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// rootPrograms are in the root file systems for guests, beside busybox.
var rootPrograms = []string{
	"busybox", "kmod", "strace", "fio", "iperf3", "socat", "ethtool",
	"mke2fs", "e2fsck", "tune2fs", "resize2fs", "dumpe2fs", "debugfs", "mksquashfs", "unsquashfs", "mkfs.xfs", "xfs_repair", "xfs_io",
}

// rootSize is the ext4 root's, in bytes; what is free is a hole.
const rootSize = 512 << 20

// guestRoots makes root.squashfs and root.ext4 in folder images: the same small
// system with busybox and the programs above, without an init of its own. It is
// laid out in folder tree.
func (p *parts) guestRoots(ctx context.Context, tree, images string) error {
	if err := p.layOutRoot(ctx, tree); err != nil {
		return fmt.Errorf("lay out a root for guests: %w", err)
	}
	if err := os.MkdirAll(images, 0o755); err != nil {
		return err
	}
	ext4 := filepath.Join(images, "root.ext4")
	f, err := os.Create(ext4)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(rootSize), f.Close()); err != nil {
		return err
	}
	return errors.Join(
		p.run(ctx, "mksquashfs", tree, filepath.Join(images, "root.squashfs"), "-all-root", "-comp", "lz4", "-no-progress", "-quiet"),
		p.run(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, ext4))
}

func (p *parts) layOutRoot(ctx context.Context, tree string) error {
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "mnt", "root", "etc", "var/log"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	if err := p.tools.CopyTo(tree, rootPrograms...); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"passwd":   "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"group":    "root:x:0:\nnogroup:x:65534:\n",
		"hosts":    "127.0.0.1 localhost\n",
		"hostname": "guest\n",
	} {
		if err := os.WriteFile(filepath.Join(tree, "etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(os.Chmod(filepath.Join(tree, "tmp"), 0o777|os.ModeSticky), p.applets(ctx, tree))
}

// applets gives busybox the names of all programs that it stands for and that
// are not there otherwise.
func (p *parts) applets(ctx context.Context, tree string) error {
	cmd, err := p.tools.Command(ctx, "busybox", "--list")
	if err != nil {
		return err
	}
	list, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("busybox --list: %w", errors.Join(ctx.Err(), err))
	}
	for _, name := range strings.Fields(string(list)) {
		if _, err := os.Lstat(filepath.Join(tree, "usr/sbin", name)); err == nil {
			continue
		}
		err := os.Symlink("busybox", filepath.Join(tree, "usr/bin", name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
