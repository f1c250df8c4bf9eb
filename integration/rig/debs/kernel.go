package debs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A Series is a line of Debian's stock cloud kernels, "6.12".
type Series string

// The series of the release and of its backports.
const (
	Linux61  Series = "6.1"
	Linux612 Series = "6.12"
)

// AllSeries are the series that the rig has, the older first.
var AllSeries = []Series{Linux61, Linux612}

// A Kernel is an unpacked stock kernel. Immutable; all paths are absolute.
type Kernel struct {
	Series  Series
	Release string // as of uname -r, "6.12.95+deb12-cloud-amd64"
	Dir     string // holds all below
	BzImage string // as packaged
	Vmlinux string // the ELF file that BzImage has compressed in it
	Config  string // the configuration that it was built with
	Root    string // has lib/modules/RELEASE, as depmod -b and modprobe -d take it
	Modules string // lib/modules/RELEASE, with modules.dep
}

// Kernel returns the newest stock kernel of a series, fetching it where the
// cache hasn't one.
func (c *Cache) Kernel(ctx context.Context, series Series) (*Kernel, error) {
	return c.kernel(ctx, series, false)
}

func (c *Cache) kernel(ctx context.Context, series Series, anew bool) (*Kernel, error) {
	tools, err := c.Tools(ctx) // before the lock is taken for the kernel
	if err != nil {
		return nil, err
	}
	name := "linux-" + string(series)
	dir, ok := c.lookup(name)
	if !ok || anew {
		dir, err = c.renew(ctx, name, anew, func(dir string) error { return c.makeKernel(ctx, tools, series, dir) })
		if err != nil {
			return nil, err
		}
	}
	return openKernel(series, dir)
}

func (c *Cache) makeKernel(ctx context.Context, tools *Tools, series Series, dir string) error {
	a, err := c.apt(ctx)
	if err != nil {
		return err
	}
	pkg, version, err := a.kernelPackage(ctx, string(series))
	if err != nil {
		return err
	}
	c.Say("downloading %s %s, about 30 MB, once", pkg, version)
	deb, err := a.download(ctx, dir, pkg, version)
	if err != nil {
		return err
	}
	if err := errors.Join(unpack(ctx, deb, dir), os.Remove(deb), os.RemoveAll(filepath.Join(dir, "usr"))); err != nil {
		return err
	}
	release, err := kernelRelease(dir)
	if err != nil {
		return err
	}
	for _, kind := range []string{"vmlinuz", "config"} {
		if err := os.Rename(filepath.Join(dir, "boot", kind+"-"+release), filepath.Join(dir, kind)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "boot")); err != nil {
		return err
	}
	if err := writeVmlinux(filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "vmlinux")); err != nil {
		return err
	}
	return depmod(ctx, tools, dir, release)
}

// depmod writes modules.dep and its kin, which a package makes when it is
// installed.
func depmod(ctx context.Context, tools *Tools, root, release string) error {
	cmd, err := tools.Command(ctx, "depmod", "-b", root, release)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("depmod %s: %w\n%s", release, errors.Join(ctx.Err(), err), tail(string(out), 5))
	}
	return nil
}

// kernelRelease tells which release's modules are in the unpacked package.
func kernelRelease(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%d kernel releases in %s/lib/modules", len(found), dir)
	}
	return filepath.Base(found[0]), nil
}

func openKernel(series Series, dir string) (*Kernel, error) {
	release, err := kernelRelease(dir)
	if err != nil {
		return nil, err
	}
	return &Kernel{
		Series: series, Release: release, Dir: dir, Root: dir,
		BzImage: filepath.Join(dir, "vmlinuz"),
		Vmlinux: filepath.Join(dir, "vmlinux"),
		Config:  filepath.Join(dir, "config"),
		Modules: filepath.Join(dir, "lib/modules", release),
	}, nil
}

// Refresh fetches everything anew, in the newest versions that there are. Sets
// that were current stay in the store for those who use them (see Prune).
func (c *Cache) Refresh(ctx context.Context) error {
	if _, err := c.tools(ctx, true); err != nil {
		return err
	}
	for _, s := range AllSeries {
		if _, err := c.kernel(ctx, s, true); err != nil {
			return err
		}
	}
	return nil
}
