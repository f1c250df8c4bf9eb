package kernel

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"splitvm/images/layer"
)

// Limits of a package: Debian's largest kernel has 10,000 files in 0.7 GB.
const (
	maxFiles = 200_000
	maxBytes = 4 << 30
)

// unpackDeb takes kernel and modules out of a Debian package (deb(5)).
func unpackDeb(ctx context.Context, deb io.Reader, dir *os.Root) error {
	data, err := dataMember(deb)
	if err != nil {
		return err
	}
	archive, err := layer.Decompress(io.NopCloser(data))
	if err != nil {
		return err
	}
	defer archive.Close()
	return unpackTar(ctx, archive, dir)
}

// dataMember finds the archive of files in a package, which is an ar archive: headers of
// 60 bytes in text, members padded to even lengths.
func dataMember(r io.Reader) (io.Reader, error) {
	const magic, headerLen = "!<arch>\n", 60
	head := make([]byte, headerLen)
	if _, err := io.ReadFull(r, head[:len(magic)]); err != nil || string(head[:len(magic)]) != magic {
		return nil, errors.New("it is no Debian package")
	}
	for {
		if _, err := io.ReadFull(r, head); err != nil {
			return nil, fmt.Errorf("the package has no archive of files: %w", err)
		}
		name := strings.TrimRight(string(head[:16]), " /")
		size, err := strconv.ParseInt(strings.TrimSpace(string(head[48:58])), 10, 64)
		if err != nil || size < 0 || string(head[58:]) != "`\n" {
			return nil, errors.New("the package is damaged")
		}
		if strings.HasPrefix(name, "data.tar") {
			return io.LimitReader(r, size), nil
		}
		if _, err := io.CopyN(io.Discard, r, size+size%2); err != nil {
			return nil, fmt.Errorf("the package is cut off: %w", err)
		}
	}
}

// unpackTar takes the kernel and its modules out of an archive.
func unpackTar(ctx context.Context, r io.Reader, dir *os.Root) error {
	left := int64(maxBytes)
	archive := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if left -= h.Size; n == maxFiles || left < 0 {
			return fmt.Errorf("it has more than %d files or %d bytes", maxFiles, int64(maxBytes))
		}
		place := placeOf(h.Name)
		if place == "" || h.Typeflag != tar.TypeReg {
			continue
		}
		if err := put(dir, place, archive); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// placeOf says where a file of a package goes, empty for nowhere.
func placeOf(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	name = strings.TrimPrefix(name, "usr/") // of distributions that have merged it
	switch {
	case strings.HasPrefix(name, "boot/vmlinuz-"), strings.HasPrefix(name, "boot/vmlinux-"):
		return kernelFile
	case strings.HasPrefix(name, modulesDir+"/") && isNeeded(path.Base(name)):
		return name
	}
	return ""
}

// isNeeded tells whether a file in the folder of modules is a module, or one that
// comes with the kernel and tells of what is built in.
func isNeeded(name string) bool {
	_, ext, ok := strings.Cut(name, ".ko")
	return ok && (ext == "" || ext == ".xz" || ext == ".gz" || ext == ".zst") || name == "modules.builtin" || name == "modules.order"
}

// put makes a file and the folders that it is in.
func put(dir *os.Root, name string, data io.Reader) error {
	if err := dir.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := dir.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, data)
	return errors.Join(err, f.Close())
}
