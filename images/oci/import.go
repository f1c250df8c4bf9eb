package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"splitvm/guest/init/superblock"
	"splitvm/images/layer"
	"splitvm/images/store"
)

// kind is what a user brings an image in.
type kind string

const (
	kindLayout  kind = "OCI layout"
	kindArchive kind = "archive of an OCI layout"
	kindSave    kind = "archive of docker save"
	kindTar     kind = "archive of a root file system"
	kindDir     kind = "root file system"
	kindDisk    kind = "raw disk"
)

// Import adds an image from a file or folder of this host: an OCI layout or an
// archive of one, what `docker save` writes, an archive or folder of a root file system, or a raw
// disk with a file system on it. What carries no configuration gets the given one.
func Import(ctx context.Context, s *store.Store, path string, c v1.Config, o Options) (store.Image, error) {
	i, err := importFrom(ctx, s, path, c, o)
	if err != nil {
		return i, fmt.Errorf("import %s: %w", path, err)
	}
	return i, nil
}

func importFrom(ctx context.Context, s *store.Store, path string, c v1.Config, o Options) (store.Image, error) {
	k, err := detect(path)
	if err != nil {
		return store.Image{}, err
	}
	o.progress().Step("reading the " + string(k))
	switch k {
	case kindLayout:
		return importLayout(ctx, s, path, path, o)
	case kindArchive:
		return importArchive(ctx, s, path, o)
	case kindSave:
		return importSave(ctx, s, path, o)
	}
	if o.Name == "" {
		o.Name = nameOf(path)
	}
	if k == kindDisk {
		return importDisk(ctx, s, path, c, o)
	}
	return importTree(ctx, s, path, k, c, o)
}

// nameOf makes a name of a file's.
func nameOf(path string) string {
	base := strings.ToLower(filepath.Base(path))
	for _, ext := range []string{".gz", ".xz", ".zst", ".bz2", ".tar", ".tgz", ".txz", ".img", ".raw", ".ext4", ".squashfs"} {
		base = strings.TrimSuffix(base, ext)
	}
	return base
}

// detect tells what is at the path.
func detect(path string) (kind, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(path, "oci-layout")); err == nil {
			return kindLayout, nil
		}
		return kindDir, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, superblock.HeaderLen)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", fmt.Errorf("nothing is in it: %w", err)
	}
	if _, ok := superblock.Detect(head[:n]); ok {
		return kindDisk, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	k, err := detectArchive(f)
	if err != nil && n >= 512 && head[510] == 0x55 && head[511] == 0xAA {
		return "", fmt.Errorf("it is a disk with partitions, which no image can be: run it with --disk %s, or import one of its partitions", path)
	}
	return k, err
}

// importTree makes one layer of an archive or a folder.
func importTree(ctx context.Context, s *store.Store, path string, k kind, c v1.Config, o Options) (_ store.Image, err error) {
	adding, err := s.Adding(ctx)
	if err != nil {
		return store.Image{}, err
	}
	defer func() { err = errors.Join(err, adding.Close()) }()
	archive, err := openTree(ctx, path, k)
	if err != nil {
		return store.Image{}, err
	}
	diffID, err := s.AddLayer(ctx, &atMost{archive, o.Limits.Bytes}, v1.Hash{})
	if err := errors.Join(err, archive.Close()); err != nil {
		return store.Image{}, err
	}
	return finish(ctx, s, describeOwn(path, c, diffID), o)
}

func openTree(ctx context.Context, path string, k kind) (io.ReadCloser, error) {
	if k == kindDir {
		return tarFolder(ctx, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return layer.Decompress(f)
}

// atMost reads no more than so many bytes; zero is any number.
type atMost struct {
	r     io.Reader
	limit int64
}

func (a *atMost) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if a.limit > 0 {
		if a.limit -= int64(n); a.limit <= 0 {
			return n, layer.ErrLimit
		}
	}
	return n, err
}

// describeOwn describes an image that has no configuration of its own. Its ID is
// the digest of the one that it gets.
func describeOwn(path string, c v1.Config, layers ...v1.Hash) store.Image {
	config := v1.ConfigFile{OS: platform.OS, Architecture: platform.Architecture, Config: c, RootFS: v1.RootFS{Type: "layers", DiffIDs: layers}}
	i := store.Image{Source: path, Added: time.Now().UTC().Truncate(time.Second), Config: config, Layers: layers}
	i.ID = digestOf(config)
	return i
}

func digestOf(c v1.ConfigFile) v1.Hash {
	data, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("oci: a configuration that JSON can't tell: %v", err))
	}
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}
