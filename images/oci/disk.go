package oci

import (
	"context"
	"errors"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"splitvm/images/store"
)

// importDisk adds a raw disk as it is: its file system becomes the root.
func importDisk(ctx context.Context, s *store.Store, path string, c v1.Config, o Options) (_ store.Image, err error) {
	adding, err := s.Adding(ctx)
	if err != nil {
		return store.Image{}, err
	}
	defer func() { err = errors.Join(err, adding.Close()) }()
	i := describeOwn(path, c)
	if err := s.AddDisk(ctx, &i, path); err != nil {
		return i, err
	}
	i.Config.RootFS.DiffIDs = []v1.Hash{i.RootSHA} // so that other disks have other IDs
	i.ID = digestOf(i.Config)
	i.Names = []string{FullName(o.Name)}
	return i, s.Put(ctx, i.Names[0], i)
}
