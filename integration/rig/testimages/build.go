package testimages

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"splitvm/integration/rig/debs"
)

// Serial is the disk's in the rig.
const Serial = "testimages"

// NameAnnotation has an image's name in the layout's index (image-spec,
// annotations.md).
const NameAnnotation = "org.opencontainers.image.ref.name"

// version changes with what Build makes of the same packages.
const version = 1

// essential are Debian's packages that every installation has.
var essential = []string{
	"base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "diffutils", "dpkg", "findutils", "grep", "gzip", "hostname",
	"libc-bin", "login", "mawk", "ncurses-base", "ncurses-bin", "perl-base", "sed", "tar", "util-linux",
}

// small are those of the image like Alpine's.
var small = []string{"busybox", "libc6"}

// Build returns the path of a squashfs with an OCI layout of the images, making
// it where the cache hasn't it.
func Build(ctx context.Context, cache *debs.Cache) (string, error) {
	tools, err := cache.Tools(ctx)
	if err != nil {
		return "", err
	}
	sets := make([]string, 2)
	for i, packages := range [][]string{small, essential} {
		if sets[i], err = cache.Packages(ctx, packages...); err != nil {
			return "", err
		}
	}
	h := sha256.New()
	fmt.Fprintln(h, version, filepath.Base(tools.Root()), filepath.Base(sets[0]), filepath.Base(sets[1]))
	dir, err := cache.Entry(ctx, fmt.Sprintf("testimages-%.6x", h.Sum(nil)), func(dir string) error {
		cache.Say("building container images for tests")
		return build(ctx, dir, tools, sets[0], sets[1])
	})
	return filepath.Join(dir, "images.squashfs"), err
}

func build(ctx context.Context, dir string, tools *debs.Tools, smallSet, essentialSet string) error {
	tree := filepath.Join(dir, "layout")
	index, err := layout.Write(tree, empty.Index)
	if err != nil {
		return err
	}
	program, err := tools.Path("busybox")
	if err != nil {
		return err
	}
	for name, make := range map[string]func() (v1.Image, error){
		"busybox": func() (v1.Image, error) { return busybox(program) },
		"alpine":  func() (v1.Image, error) { return alpine(ctx, smallSet) },
		"debian":  func() (v1.Image, error) { return debian(ctx, essentialSet) },
	} {
		image, err := make()
		if err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		if err := index.AppendImage(image, layout.WithAnnotations(map[string]string{NameAnnotation: name})); err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
	}
	// The blobs are compressed already.
	cmd, err := tools.Command(ctx, "mksquashfs", tree, filepath.Join(dir, "images.squashfs"), "-all-root", "-noI", "-noD", "-noF", "-noX", "-no-progress", "-quiet")
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mksquashfs: %w\n%s", errors.Join(ctx.Err(), err), out)
	}
	return os.RemoveAll(tree)
}
