package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"splitvm/images/layer"
	"splitvm/images/store"
)

// importLayout adds an image from an OCI layout; source is what the user named.
func importLayout(ctx context.Context, s *store.Store, dir, source string, o Options) (store.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return store.Image{}, err
	}
	image, tag, err := chooseImage(index, o.Name)
	if err != nil {
		return store.Image{}, err
	}
	if o.Name == "" {
		if o.Name = tag; o.Name == "" {
			o.Name = nameOf(source)
		}
	}
	open := func(l v1.Layer, _ v1.Descriptor) opener {
		return func(context.Context, int64) (readCloser, int64, error) {
			r, err := l.Compressed()
			if err != nil {
				err = store.Permanent{Err: err}
			}
			return r, 0, err
		}
	}
	return add(ctx, s, image, source, open, o)
}

// refName has an image's name in an index (image-spec, annotations.md).
const refName = "org.opencontainers.image.ref.name"

// chooseImage picks the image of an index for guests: the only one for their
// platform, or the one that has the name.
func chooseImage(index v1.ImageIndex, wanted string) (v1.Image, string, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, "", err
	}
	var fit []v1.Descriptor
	for _, d := range manifest.Manifests {
		if d.Platform == nil || d.Platform.Satisfies(platform) {
			fit = append(fit, d)
		}
	}
	var named []string
	for _, d := range fit {
		tag := d.Annotations[refName]
		named = append(named, tag)
		if tag != "" && tag == wanted || len(fit) == 1 {
			image, err := imageIn(index, d)
			return image, tag, err
		}
	}
	return nil, "", fmt.Errorf("%d images for %v are in it: give --name, one of %s", len(fit), platform.String(), strings.Join(named, ", "))
}

// imageIn gives the image of a descriptor, which may be an index for platforms.
func imageIn(index v1.ImageIndex, d v1.Descriptor) (v1.Image, error) {
	if !d.MediaType.IsIndex() {
		return index.Image(d.Digest)
	}
	inner, err := index.ImageIndex(d.Digest)
	if err != nil {
		return nil, err
	}
	manifest, err := inner.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Manifests {
		if d.MediaType.IsImage() && (d.Platform == nil || d.Platform.Satisfies(platform)) {
			return inner.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("no image for %v is in it", platform.String())
}

// layoutFile tells the files of a layout; nothing else is unpacked.
var layoutFile = regexp.MustCompile(`^(oci-layout|index\.json|blobs/sha256/[0-9a-f]{64})$`).MatchString

// importArchive unpacks an OCI layout and adds its image.
func importArchive(ctx context.Context, s *store.Store, file string, o Options) (_ store.Image, err error) {
	adding, err := s.Adding(ctx)
	if err != nil {
		return store.Image{}, err
	}
	defer func() { err = errors.Join(err, adding.Close()) }()
	dir, err := os.MkdirTemp(filepath.Join(s.Dir(), "tmp"), "layout.")
	if err != nil {
		return store.Image{}, err
	}
	defer os.RemoveAll(dir)
	if err := unpackLayout(ctx, file, dir, o.Limits.Bytes); err != nil {
		return store.Image{}, err
	}
	return importLayout(ctx, s, dir, file, o)
}

func unpackLayout(ctx context.Context, file, dir string, limit int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	r, err := layer.Decompress(f)
	if err != nil {
		return err
	}
	defer r.Close()
	for archive := tar.NewReader(&atMost{r, limit}); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		place := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || !layoutFile(place) {
			continue
		}
		if err := unpackFile(root, place, archive); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func unpackFile(root *os.Root, place string, data io.Reader) error {
	if err := root.MkdirAll(path.Dir(place), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(place, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, data)
	return errors.Join(err, f.Close())
}
