package debs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// packages are fetched with all that they depend on.
var packages = []string{
	"qemu-system-x86", "qemu-utils", "busybox-static", "kmod",
	"e2fsprogs", "squashfs-tools", "xfsprogs",
	"fio", "strace", "iperf3", "socat", "ethtool",
}

// programs are what is kept of them, with their libraries.
var programs = []string{
	"/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-nbd", "/usr/bin/fio", "/usr/bin/strace", "/usr/bin/iperf3", "/usr/bin/socat",
	"/usr/bin/mksquashfs", "/usr/bin/unsquashfs", "/bin/busybox", "/bin/kmod", "/sbin/ethtool",
	"/sbin/mke2fs", "/sbin/e2fsck", "/sbin/tune2fs", "/sbin/resize2fs", "/sbin/dumpe2fs", "/sbin/debugfs",
	"/sbin/mkfs.xfs", "/sbin/xfs_repair", "/usr/sbin/xfs_io", "/usr/sbin/xfs_db",
}

// data are other files that are kept, as patterns: QEMU's firmware for a PC.
var data = []string{
	"/usr/share/qemu/kvmvapic.bin", "/usr/share/qemu/linuxboot*.bin", "/usr/share/qemu/multiboot*.bin",
	"/usr/share/qemu/pvh.bin", "/usr/share/qemu/qboot.rom", "/usr/share/seabios/*.bin",
	"/usr/lib/ipxe/qemu/efi-virtio.rom",
}

// Tools is the unpacked set of programs: a tree with a /usr in which each finds
// its libraries when the tree is at / (as in the rig), and from where it is with
// [Tools.Command]. Immutable.
type Tools struct {
	root string
}

// toolsName names the set by what is in it, so that a change of the lists above
// makes another set.
func toolsName() string {
	h := sha256.New()
	fmt.Fprintln(h, 1, packages, programs, data) // 1: the layout's version
	return fmt.Sprintf("tools-%.6x", h.Sum(nil))
}

// Tools returns the programs, fetching them where the cache hasn't them.
func (c *Cache) Tools(ctx context.Context) (*Tools, error) {
	return c.tools(ctx, false)
}

// CachedTools returns the programs if the cache has them, and fetches nothing.
func (c *Cache) CachedTools() (*Tools, bool) {
	root, ok := c.lookup(toolsName())
	return &Tools{root: root}, ok
}

func (c *Cache) tools(ctx context.Context, anew bool) (*Tools, error) {
	root, ok := c.lookup(toolsName())
	if !ok || anew {
		var err error
		if root, err = c.renew(ctx, toolsName(), anew, func(dir string) error { return c.makeTools(ctx, dir) }); err != nil {
			return nil, err
		}
	}
	return &Tools{root: root}, nil
}

func (c *Cache) makeTools(ctx context.Context, dir string) error {
	a, err := c.apt(ctx)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(filepath.Dir(dir), "scratch.*.tmp")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	c.Say("downloading QEMU and tools, about 100 MB, once")
	debs, err := a.closure(ctx, filepath.Join(scratch, "debs"), packages)
	if err != nil {
		return err
	}
	all := filepath.Join(scratch, "all")
	c.Say("unpacking %d packages", len(debs))
	for _, deb := range debs {
		if err := unpack(ctx, deb, all); err != nil {
			return err
		}
	}
	return pick(all, dir)
}

// pick copies what is kept of the unpacked packages in folder all into dir.
func pick(all, dir string) error {
	p := &picker{from: all, to: dir, have: make(map[string]bool)}
	for _, prog := range programs {
		if err := p.program(prog); err != nil {
			return err
		}
	}
	for _, pattern := range data {
		found, err := filepath.Glob(filepath.Join(all, pattern))
		if err != nil || len(found) == 0 {
			return fmt.Errorf("no file like %s in the packages", pattern)
		}
		for _, f := range found {
			f = strings.TrimPrefix(f, all)
			if err := p.copyFile(f, f); err != nil {
				return err
			}
		}
	}
	return errors.Join(mergedUsr(dir), symlinks(dir, map[string]string{
		"usr/sbin/mkfs.ext4": "mke2fs", "usr/sbin/modprobe": "../bin/kmod", "usr/sbin/depmod": "../bin/kmod", "usr/sbin/insmod": "../bin/kmod",
	}))
}

// mergedUsr makes the folders of / links to those of /usr.
func mergedUsr(dir string) error {
	return symlinks(dir, map[string]string{"lib": "usr/lib", "lib64": "usr/lib64", "bin": "usr/bin", "sbin": "usr/sbin"})
}

func symlinks(dir string, links map[string]string) error {
	for link, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			return err
		}
	}
	return nil
}

// listsLife is for how long lists count as fresh: several sets are fetched in a
// row.
const listsLife = 10 * time.Minute

// apt returns the private apt with fresh lists; the caller has the cache's lock.
func (c *Cache) apt(ctx context.Context) (*apt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lists != nil && time.Since(c.listed) < listsLife {
		return c.lists, nil
	}
	system, err := systemSources("/etc/apt")
	if err != nil {
		return nil, err
	}
	sources, err := rigSources(system, os.Getenv(MirrorEnv))
	if err != nil {
		return nil, err
	}
	c.Say("reading the lists of %s and its backports", release)
	if c.lists, err = newApt(ctx, filepath.Join(c.dir, "apt"), sources); err != nil {
		return nil, err
	}
	c.listed = time.Now()
	return c.lists, nil
}

// Root returns the tree: usr/bin, usr/sbin, usr/lib, usr/share, and links to
// them from bin, sbin, lib and lib64.
func (t *Tools) Root() string { return t.root }

// Path returns where a program is in the tree. A program that needs libraries
// is not fit to be executed from there; see Command.
func (t *Tools) Path(name string) (string, error) {
	for _, dir := range []string{"usr/bin", "usr/sbin"} {
		path := filepath.Join(t.root, dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no program %s in %s", name, t.root)
}

// Command returns a command that runs a program on this machine, with its own
// loader and libraries and none of the machine's.
func (t *Tools) Command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	path, err := t.Path(name)
	if err != nil {
		return nil, err
	}
	if name == "busybox" { // has no loader
		return exec.CommandContext(ctx, path, args...), nil
	}
	libs := filepath.Join(t.root, libDir)
	loaded := append([]string{"--argv0", name, "--library-path", libs, path}, args...)
	return exec.CommandContext(ctx, filepath.Join(t.root, loader), loaded...), nil
}

// CopyTo copies programs, with the libraries that they need, into a tree of the
// same layout at dir.
func (t *Tools) CopyTo(dir string, names ...string) error {
	p := &picker{from: t.root, to: dir, have: make(map[string]bool)}
	for _, name := range names {
		path, err := t.Path(name)
		if err != nil {
			return err
		}
		if err := p.program(strings.TrimPrefix(path, t.root)); err != nil {
			return err
		}
	}
	return mergedUsr(dir)
}

// Firmware returns the arguments that tell QEMU where its firmware is.
func (t *Tools) Firmware() []string {
	return []string{"-L", filepath.Join(t.root, "usr/share/qemu"), "-L", filepath.Join(t.root, "usr/share/seabios")}
}
