package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	"splitvm/images/layer"
)

// ErrDigest is wrapped by the error about content that is not what its digest
// says. Nothing of it is kept.
var ErrDigest = errors.New("the content is not what its digest says")

// Blob is a compressed layer that can be fetched.
type Blob struct {
	Digest v1.Hash // of the compressed file
	Size   int64   // of the compressed file
	DiffID v1.Hash // of the archive in it
	Limit  int64   // bytes that file and archive may have; 0: any number
	// Open opens the file from the offset on, or from its beginning; it says from
	// where.
	Open func(ctx context.Context, offset int64) (io.ReadCloser, int64, error)
}

// digestOK tells whether a digest can name a file here.
func digestOK(h v1.Hash) error {
	if _, err := hex.DecodeString(h.Hex); err != nil || h.Algorithm != "sha256" || len(h.Hex) != 2*sha256.Size {
		return fmt.Errorf("digest %.80q is not one of SHA-256", h.String())
	}
	return nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

func (s *Store) layerPath(diffID v1.Hash) string { return s.path("layers", diffID.Hex) }

// HasLayer tells whether the layer is here.
func (s *Store) HasLayer(diffID v1.Hash) bool {
	_, err := os.Stat(s.layerPath(diffID))
	return digestOK(diffID) == nil && err == nil
}

// Fetch fetches a layer, unless it is here or another process has just fetched
// it. What an earlier Fetch that was interrupted has fetched is not fetched again. It tells progress,
// if that is not nil, how much of the file is here.
func (s *Store) Fetch(ctx context.Context, b Blob, progress func(done int64)) error {
	if err := errors.Join(digestOK(b.Digest), digestOK(b.DiffID)); err != nil {
		return err
	}
	if s.HasLayer(b.DiffID) {
		return nil
	}
	if b.Limit == 0 {
		b.Limit = math.MaxInt64 - 1
	}
	if b.Size > b.Limit {
		return fmt.Errorf("layer %s: %d bytes: %w", b.Digest, b.Size, layer.ErrLimit)
	}
	path := s.path("partial", b.Digest.Hex)
	l, err := lock(ctx, path, exclusive)
	if err != nil {
		return err
	}
	defer l.Close()
	if s.HasLayer(b.DiffID) {
		return os.Remove(path)
	}
	d := &download{f: l.f, blob: b, progress: progress, hash: sha256.New()}
	err = d.complete(ctx)
	if err == nil {
		err = s.checkArchive(ctx, l.f, b)
	}
	if err == nil {
		err = errors.Join(l.f.Chmod(0o444), l.f.Sync())
	}
	if errors.Is(err, ErrDigest) || errors.Is(err, layer.ErrLimit) {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return fmt.Errorf("layer %s: %w", b.Digest, err)
	}
	return rename(path, s.layerPath(b.DiffID))
}

// checkArchive checks that the archive in the compressed file f is the one that b
// tells of.
func (s *Store) checkArchive(ctx context.Context, f *os.File, b Blob) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := layer.Decompress(io.NopCloser(f))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDigest, err)
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(&whileContext{ctx, r}, b.Limit+1))
	switch got := sum(h); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDigest, err)
	case n > b.Limit:
		return fmt.Errorf("more than %d bytes are in it: %w", b.Limit, layer.ErrLimit)
	case got != b.DiffID:
		return fmt.Errorf("its archive has %v, and the image's configuration says %v: %w", got, b.DiffID, ErrDigest)
	}
	return nil
}

// whileContext reads as long as the context lasts.
type whileContext struct {
	ctx context.Context
	r   io.Reader
}

func (w *whileContext) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

// AddLayer adds an archive that is not compressed and returns its digest, which has to be
// want unless that is the zero Hash.
func (s *Store) AddLayer(ctx context.Context, archive io.Reader, want v1.Hash) (v1.Hash, error) {
	f, err := os.CreateTemp(s.path("tmp"), "layer.")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.Remove(f.Name()) // nothing, once it was renamed
	defer f.Close()
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return v1.Hash{}, err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(z, h), &whileContext{ctx, archive})
	if err := errors.Join(err, z.Close()); err != nil {
		return v1.Hash{}, err
	}
	got := sum(h)
	if want != (v1.Hash{}) && got != want {
		return got, fmt.Errorf("layer %v has %v: %w", want, got, ErrDigest)
	}
	if s.HasLayer(got) {
		return got, nil
	}
	if err := errors.Join(f.Chmod(0o444), f.Sync()); err != nil {
		return got, err
	}
	return got, rename(f.Name(), s.layerPath(got))
}

// storedLayer is a layer as package layer reads it. Its digest is checked again
// on every whole read: a disk may have changed it.
type storedLayer struct {
	store  *Store
	diffID v1.Hash
}

func (l storedLayer) String() string { return l.diffID.String() }

func (l storedLayer) Open() (io.ReadCloser, error) {
	f, err := os.Open(l.store.layerPath(l.diffID))
	if err != nil {
		return nil, err
	}
	r, err := layer.Decompress(f)
	if err != nil {
		return nil, err
	}
	return &checked{r, l.diffID, sha256.New()}, nil
}

// checked compares a digest at the end of the file.
type checked struct {
	io.ReadCloser
	want v1.Hash
	hash hash.Hash
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.hash.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if got := sum(c.hash); got != c.want {
			return n, fmt.Errorf("it has %v: %w: remove the images that have it and fetch them again", got, ErrDigest)
		}
	}
	return n, err
}
