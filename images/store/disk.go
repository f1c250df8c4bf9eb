package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"splitvm/guest/init/superblock"
)

// AddDisk makes a copy of a raw disk the image's root. Its holes stay holes, and where
// the file system shares blocks between files, nothing is copied. The caller holds Adding.
func (s *Store) AddDisk(ctx context.Context, i *Image, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp, err := os.CreateTemp(s.path("tmp"), "disk.")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // nothing, once it was renamed
	defer tmp.Close()
	if err := copyDisk(ctx, tmp, in); err != nil {
		return fmt.Errorf("copy %s: %w", path, err)
	}
	header := make([]byte, superblock.HeaderLen)
	n, err := tmp.ReadAt(header, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	info, ok := superblock.Detect(header[:n])
	if !ok {
		return fmt.Errorf("%s: no ext4, squashfs or erofs is on it", path)
	}
	i.FSType = info.Type
	h := sha256.New()
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if i.Bytes, err = io.Copy(h, &whileContext{ctx, tmp}); err != nil {
		return err
	}
	i.RootSHA = sum(h)
	i.Root = i.RootSHA.Hex + ".raw"
	if err := errors.Join(tmp.Chmod(0o444), tmp.Sync()); err != nil {
		return err
	}
	return rename(tmp.Name(), s.RootPath(*i))
}

// copyDisk shares all blocks, or copies those that are no holes.
func copyDisk(ctx context.Context, out, in *os.File) error {
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	size, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := out.Truncate(size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole up to the end
		}
		if err != nil {
			data = at // a device, that knows no holes
		}
		end, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			end = size
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), &whileContext{ctx, io.NewSectionReader(in, data, end-data)}); err != nil {
			return err
		}
		at = end
	}
	return nil
}
