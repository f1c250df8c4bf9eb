package rig

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"splitvm/integration/rig/initramfs"
)

//go:embed init.sh
var initScript string

// agentPackage is the program that answers in the machine.
const agentPackage = "splitvm/integration/rig/cmd/rig-agent"

// l1Modules are loaded in L1 before anything else. Others are there for modprobe,
// which is slow in emulation: it unpacks them.
var l1Modules = []string{"virtio_blk", "squashfs", "kvm-amd", "tun", "vhost_vsock", "vhost_net", "loop"}

// reserved are folders of L1 that the image's cover, or that belong to the rig.
var reserved = []string{"/usr", "/lib", "/lib64", "/sbin", "/kernels", "/images", "/img", "/mods", "/rig", "/proc", "/sys", "/dev", "/tmp", "/scratch", "/init"}

// anonymous returns a file in memory that has no name.
func anonymous(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// initrd writes the machine's initramfs to a file without a name.
func (p *parts) initrd(ctx context.Context, files []File) (_ *os.File, err error) {
	agent, err := GoBuild(ctx, agentPackage, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, agent.Remove()) }()
	busybox, err := p.tools.Path("busybox")
	if err != nil {
		return nil, err
	}
	modules, err := initramfs.OpenGraph(p.l1Kernel().Modules)
	if err != nil {
		return nil, err
	}
	f, err := anonymous("rig-initrd")
	if err != nil {
		return nil, err
	}
	b := initramfs.New(f)
	b.Text("/init", 0o755, initScript)
	b.Host("/bin/busybox", busybox)
	b.Host("/rig/agent", agent.Path())
	b.Modules("/mods", modules, l1Modules...)
	for _, file := range files {
		if err := checkPlace(file.Rig); err != nil {
			f.Close()
			return nil, err
		}
		b.Host(file.Rig, file.Host)
	}
	if err := b.Close(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkPlace(name string) error {
	if !filepath.IsAbs(name) || filepath.Clean(name) != name || name == "/" {
		return fmt.Errorf("rig: a file's place must be a clean absolute path, not %q", name)
	}
	for _, r := range reserved {
		if name == r || strings.HasPrefix(name, r+"/") {
			return fmt.Errorf("rig: %s is below %s, which is the machine's own; put files below /bin or /root, say", name, r)
		}
	}
	return nil
}

// scratch makes an empty ext4 file system of the given size in a file without a
// name, in the cache folder: memory is not for this.
func (p *parts) scratch(ctx context.Context, size int64) (*os.File, error) {
	f, err := os.CreateTemp(p.cache.Dir(), "scratch.")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Remove(f.Name()), f.Truncate(size)); err != nil {
		f.Close()
		return nil, err
	}
	// Its tables are made by the kernel when first used; no journal, as it
	// lives no longer than the machine.
	cmd, err := p.tools.Command(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", "/proc/self/fd/3")
	if err != nil {
		f.Close()
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{f}
	if out, err := cmd.CombinedOutput(); err != nil {
		f.Close()
		return nil, fmt.Errorf("make the scratch disk: %w\n%s", errors.Join(ctx.Err(), err), out)
	}
	return f, nil
}
