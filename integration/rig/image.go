package rig

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"splitvm/integration/rig/debs"
)

// imageVersion changes with what buildImage makes of the same packages.
const imageVersion = 2

// parts are the unpacked packages that a machine is made of.
type parts struct {
	cache   *debs.Cache
	tools   *debs.Tools
	kernels []*debs.Kernel
}

// fetch returns the parts from the cache, filling it where they are not there.
func fetch(ctx context.Context, cache *debs.Cache) (*parts, error) {
	tools, err := cache.Tools(ctx)
	if err != nil {
		return nil, err
	}
	p := &parts{cache: cache, tools: tools}
	for _, series := range debs.AllSeries {
		k, err := cache.Kernel(ctx, series)
		if err != nil {
			return nil, err
		}
		p.kernels = append(p.kernels, k)
	}
	return p, nil
}

// l1Kernel is the kernel that L1 runs: the newest, which has the virtio console
// built in.
func (p *parts) l1Kernel() *debs.Kernel { return p.kernels[len(p.kernels)-1] }

// image returns the path of the read-only disk image with programs and kernels,
// which is made once for each combination of them.
func (p *parts) image(ctx context.Context) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, imageVersion, filepath.Base(p.tools.Root()))
	for _, k := range p.kernels {
		fmt.Fprintln(h, filepath.Base(k.Dir), k.Release)
	}
	dir, err := p.cache.Entry(ctx, fmt.Sprintf("image-%.6x", h.Sum(nil)), func(dir string) error { return p.buildImage(ctx, dir) })
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "image.squashfs"), nil
}

func (p *parts) buildImage(ctx context.Context, dir string) error {
	p.cache.Say("building the disk image")
	tree := filepath.Join(dir, "tree")
	if err := p.layOut(tree); err != nil {
		return err
	}
	if err := p.guestRoots(ctx, filepath.Join(dir, "root"), filepath.Join(tree, "images")); err != nil {
		return err
	}
	// Not compressed: what is saved in reading would be spent in emulation.
	err := p.run(ctx, "mksquashfs", tree, filepath.Join(dir, "image.squashfs"), "-all-root", "-noI", "-noD", "-noF", "-noX", "-no-progress", "-quiet")
	return errors.Join(err, os.RemoveAll(tree), os.RemoveAll(filepath.Join(dir, "root")))
}

// run runs a program of the tools on this machine.
func (p *parts) run(ctx context.Context, name string, args ...string) error {
	cmd, err := p.tools.Command(ctx, name, args...)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, errors.Join(ctx.Err(), err), out)
	}
	return nil
}

// layOut makes the image's tree of hard links to the parts.
func (p *parts) layOut(tree string) error {
	if err := linkTree(p.tools.Root(), tree); err != nil {
		return err
	}
	for _, k := range p.kernels {
		dir := filepath.Join(tree, "kernels", string(k.Series))
		if err := linkTree(k.Root+"/lib", filepath.Join(dir, "lib")); err != nil {
			return err
		}
		for name, file := range map[string]string{"bzImage": k.BzImage, "vmlinux": k.Vmlinux, "config": k.Config} {
			if err := os.Link(file, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	// modprobe looks in /lib/modules for those of the running kernel.
	modules := "../../kernels/" + string(p.l1Kernel().Series) + "/lib/modules"
	return os.Symlink(modules, filepath.Join(tree, "usr/lib/modules"))
}

// linkTree copies a tree by hard links to its files.
func linkTree(src, dst string) error {
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		return os.Link(path, to) // of a symbolic link: link(2) doesn't follow it
	})
}

// Have tells what the cache holds for machines.
type Have struct {
	Image   string // the disk image's path
	Kernels []*debs.Kernel
	Tools   *debs.Tools
}

// Dirs returns the cache's folders that it is in.
func (h Have) Dirs() []string {
	dirs := []string{filepath.Dir(h.Image), h.Tools.Root()}
	for _, k := range h.Kernels {
		dirs = append(dirs, k.Dir)
	}
	return dirs
}

func (h Have) String() string {
	s := "programs  " + h.Tools.Root() + "\n"
	for _, k := range h.Kernels {
		s += fmt.Sprintf("kernel    %s (%s)\n", k.Dir, k.Release)
	}
	return s + "image     " + h.Image + "\n"
}

// Fetch fetches and builds all that machines need, so that Start works without
// the network.
func Fetch(ctx context.Context, cache *debs.Cache) (Have, error) {
	p, err := fetch(ctx, cache)
	if err != nil {
		return Have{}, err
	}
	image, err := p.image(ctx)
	if err != nil {
		return Have{}, err
	}
	return Have{Image: image, Kernels: p.kernels, Tools: p.tools}, nil
}
