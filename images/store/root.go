package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"splitvm/guest/init/superblock"
	"splitvm/images/layer"
	"splitvm/images/rootfs"
)

// rootVersion changes with what MakeRoot makes of the same layers.
const rootVersion = 1

// mountPoints are what a guest's init mounts file systems on. A root that can't
// be written has to have them.
var mountPoints = map[string]int64{"/dev": 0o755, "/proc": 0o555, "/sys": 0o555, "/run": 0o755, "/tmp": 0o1777}

// coveredFiles are what a guest's init covers with what it knows, as container
// engines do. Most images leave them out.
var coveredFiles = []string{"/etc/hosts", "/etc/resolv.conf"}

// rootName names the root of the layers.
func rootName(layers []v1.Hash) string {
	h := sha256.New()
	fmt.Fprintln(h, "squashfs", rootVersion)
	for _, l := range layers {
		fmt.Fprintln(h, l)
	}
	return sum(h).Hex + ".squashfs"
}

// MakeRoot makes the root file system of the image's layers, which have to be
// here, unless it is here or another process has just made it, and tells the
// image of it. The caller holds Adding.
func (s *Store) MakeRoot(ctx context.Context, i *Image, limits layer.Limits) error {
	i.Root, i.FSType = rootName(i.Layers), superblock.Squashfs
	l, err := lock(ctx, s.path("locks", "root-"+i.Root), exclusive)
	if err != nil {
		return err
	}
	defer l.Close()
	path := s.path("roots", i.Root)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		err = s.makeRoot(ctx, path, i.Layers, limits)
		if err != nil {
			return err
		}
	}
	return s.measure(ctx, i)
}

func (s *Store) makeRoot(ctx context.Context, path string, layers []v1.Hash, limits layer.Limits) error {
	var sources []layer.Source
	for _, l := range layers {
		sources = append(sources, storedLayer{s, l})
	}
	tree, err := layer.Merge(ctx, sources, limits)
	if err != nil {
		return err
	}
	for dir, mode := range mountPoints {
		tree.EnsureDir(dir, mode)
	}
	for _, file := range coveredFiles {
		tree.EnsureFile(file, 0o644)
	}
	tmp, err := os.MkdirTemp(s.path("tmp"), "root.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	image := tmp + "/image"
	if err := rootfs.MakeFromTar(ctx, image, rootfs.Archive{Write: tree.WriteTar, Mode: tree.RootMode(), Newest: tree.Newest()}); err != nil {
		return err
	}
	if err := os.Chmod(image, 0o444); err != nil {
		return err
	}
	return rename(image, path)
}

// measure tells the image the size and digest of its root.
func (s *Store) measure(ctx context.Context, i *Image) error {
	f, err := os.Open(s.RootPath(*i))
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	i.Bytes, err = io.Copy(h, &whileContext{ctx, f})
	i.RootSHA = sum(h)
	return err
}
