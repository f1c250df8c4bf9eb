package oci

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"splitvm/images/store"
)

// parallel is how many layers are fetched at a time.
const parallel = 3

// add fetches the image's layers, makes its root and gives it its name.
func add(ctx context.Context, s *store.Store, image v1.Image, source string, open func(v1.Layer, v1.Descriptor) opener, o Options) (_ store.Image, err error) {
	adding, err := s.Adding(ctx)
	if err != nil {
		return store.Image{}, err
	}
	defer func() {
		err = errors.Join(err, adding.Close())
		if err == nil {
			err = s.Sweep(ctx) // of the image that had the name before
		}
	}()
	i, layers, err := describe(image)
	if err != nil {
		return i, err
	}
	i.Source, i.Added = source, time.Now().UTC().Truncate(time.Second)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for n, l := range layers {
		blob, err := blobOf(l, i.Layers[n], open)
		if err != nil {
			return i, err
		}
		blob.Limit = o.Limits.Bytes
		group.Go(func() error {
			o.progress().Layer(blob.Digest, 0, blob.Size)
			err := s.Fetch(gctx, blob, func(done int64) { o.progress().Layer(blob.Digest, done, blob.Size) })
			if err == nil {
				o.progress().Layer(blob.Digest, blob.Size, blob.Size)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return i, err
	}
	return finish(ctx, s, i, o)
}

// finish makes the image of layers that are in the store.
func finish(ctx context.Context, s *store.Store, i store.Image, o Options) (store.Image, error) {
	o.progress().Step("making the root file system")
	if err := s.MakeRoot(ctx, &i, o.Limits); err != nil {
		return i, err
	}
	i.Names = []string{FullName(o.Name)}
	return i, s.Put(ctx, i.Names[0], i)
}

// describe checks that the image is one that a guest can run. go-containerregistry has
// compared manifest and configuration with their digests.
func describe(image v1.Image) (i store.Image, layers []v1.Layer, err error) {
	if i.Digest, err = image.Digest(); err != nil {
		return i, nil, err
	}
	if i.ID, err = image.ConfigName(); err != nil {
		return i, nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return i, nil, fmt.Errorf("its configuration: %w", err)
	}
	if layers, err = image.Layers(); err != nil {
		return i, nil, err
	}
	i.Config, i.Layers = *config, config.RootFS.DiffIDs
	if len(layers) != len(i.Layers) {
		return i, nil, fmt.Errorf("its configuration tells of %d layers, and its manifest of %d: is it no container image?", len(i.Layers), len(layers))
	}
	return i, layers, checkPlatform(config)
}

func checkPlatform(c *v1.ConfigFile) error {
	if c.OS != "" && c.OS != platform.OS || c.Architecture != "" && c.Architecture != platform.Architecture {
		return fmt.Errorf("it is for %s/%s, and guests are %s/%s", c.OS, c.Architecture, platform.OS, platform.Architecture)
	}
	return nil
}

func blobOf(l v1.Layer, diffID v1.Hash, open func(v1.Layer, v1.Descriptor) opener) (b store.Blob, err error) {
	b.DiffID = diffID
	if b.Digest, err = l.Digest(); err != nil {
		return b, err
	}
	kind, err := l.MediaType()
	if err != nil {
		return b, err
	}
	if !kind.IsDistributable() || !kind.IsLayer() {
		return b, fmt.Errorf("layer %v is a %s, which can't be fetched", b.Digest, kind)
	}
	if b.Size, err = l.Size(); err != nil {
		return b, err
	}
	b.Open = open(l, v1.Descriptor{Digest: b.Digest, Size: b.Size})
	return b, nil
}
