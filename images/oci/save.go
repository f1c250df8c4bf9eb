package oci

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"splitvm/images/layer"
	"splitvm/images/store"
)

// maxLook is how many entries of an archive are looked at for what it is.
// Both docker and podman write the manifest after the layers.
const maxLook = 100_000

// detectArchive tells what is in the archive in f.
func detectArchive(f *os.File) (kind, error) {
	r, err := layer.Decompress(io.NopCloser(f))
	if err != nil {
		return "", err
	}
	defer r.Close()
	archive := tar.NewReader(bufio.NewReader(r))
	found := kindTar
	for n := 0; n < maxLook; n++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) && n > 0 {
			break
		}
		if err != nil && n == 0 {
			return "", errors.New("it is neither an archive, nor a disk with ext4, squashfs or erofs on it")
		}
		if err != nil {
			return "", err
		}
		switch path.Clean(h.Name) {
		case "manifest.json":
			return kindSave, nil
		case "oci-layout":
			found = kindArchive
		}
	}
	return found, nil
}

// importSave adds an image from an archive of `docker save`.
func importSave(ctx context.Context, s *store.Store, file string, o Options) (_ store.Image, err error) {
	opener := func() (io.ReadCloser, error) {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		return layer.Decompress(f)
	}
	tag, err := chooseTag(opener, o.Name)
	if err != nil {
		return store.Image{}, err
	}
	image, err := tarball.Image(opener, tag)
	if err != nil {
		return store.Image{}, err
	}
	if o.Name == "" {
		o.Name = nameOf(file)
		if tag != nil {
			o.Name = tag.Name()
		}
	}
	adding, err := s.Adding(ctx)
	if err != nil {
		return store.Image{}, err
	}
	defer func() { err = errors.Join(err, adding.Close()) }()
	i, err := describeSaved(image)
	if err != nil {
		return i, err
	}
	i.Source, i.Added = file, time.Now().UTC().Truncate(time.Second)
	if err := addSaved(ctx, s, image, i.Layers, o); err != nil {
		return i, err
	}
	return finish(ctx, s, i, o)
}

// chooseTag picks the image of an archive: the only one, or the one that has the
// name.
func chooseTag(opener tarball.Opener, wanted string) (*name.Tag, error) {
	manifest, err := tarball.LoadManifest(opener)
	if err != nil {
		return nil, err
	}
	var tags []string
	for _, d := range manifest {
		tags = append(tags, d.RepoTags...)
	}
	pick := ""
	for _, t := range tags {
		if FullName(t) == FullName(wanted) {
			pick = t
		}
	}
	if pick == "" && len(manifest) > 1 {
		return nil, fmt.Errorf("%d images are in it: give --name, one of %s", len(manifest), strings.Join(tags, ", "))
	}
	if pick == "" && len(tags) > 0 {
		pick = tags[0]
	}
	if pick == "" {
		return nil, nil
	}
	tag, err := name.NewTag(pick)
	return &tag, err
}

// describeSaved is describe without the manifest, which such archives have none
// of.
func describeSaved(image v1.Image) (i store.Image, err error) {
	if i.ID, err = image.ConfigName(); err != nil {
		return i, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return i, fmt.Errorf("its configuration: %w", err)
	}
	i.Config, i.Layers = *config, config.RootFS.DiffIDs
	return i, checkPlatform(config)
}

// addSaved adds the layers that have the digests, as far as they are not here.
func addSaved(ctx context.Context, s *store.Store, image v1.Image, diffIDs []v1.Hash, o Options) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	if len(layers) != len(diffIDs) {
		return fmt.Errorf("it has %d layers, and its configuration tells of %d", len(layers), len(diffIDs))
	}
	for n, l := range layers {
		if s.HasLayer(diffIDs[n]) {
			continue
		}
		r, err := l.Uncompressed()
		if err != nil {
			return err
		}
		_, err = s.AddLayer(ctx, &atMost{r, o.Limits.Bytes}, diffIDs[n])
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}
