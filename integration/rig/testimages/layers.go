package testimages

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"splitvm/images/layer"
)

// file is an entry of a layer. The zero Type is a plain file.
type file struct {
	name     string
	kind     byte
	mode     int64
	uid, gid int
	data     string // or the target of a link
}

// layerOf makes a layer of entries.
func layerOf(files ...file) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: f.kind, Mode: f.mode, Uid: f.uid, Gid: f.gid}
		data := f.data
		if f.kind == tar.TypeSymlink || f.kind == tar.TypeLink {
			h.Linkname, data = f.data, ""
		}
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return bytesLayer(b.Bytes())
}

func bytesLayer(data []byte) (v1.Layer, error) {
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
}

// debianLayer makes a layer of all packages in a folder, unpacked one over the
// other.
func debianLayer(ctx context.Context, dir string) (v1.Layer, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no packages in %s (%v)", dir, err)
	}
	var sources []layer.Source
	for _, p := range paths {
		sources = append(sources, deb{ctx, p})
	}
	tree, err := layer.Merge(ctx, sources, layer.Limits{})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := tree.WriteTar(ctx, &b); err != nil {
		return nil, err
	}
	return bytesLayer(b.Bytes())
}

// deb is a package as a layer.
type deb struct {
	ctx  context.Context
	path string
}

func (d deb) String() string { return filepath.Base(d.path) }

func (d deb) Open() (io.ReadCloser, error) {
	cmd := exec.CommandContext(d.ctx, "dpkg-deb", "--fsys-tarfile", d.path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &output{out, cmd}, nil
}

// output is what a program writes.
type output struct {
	io.ReadCloser
	cmd *exec.Cmd
}

// Close waits for the program, which fails where not all was read.
func (o *output) Close() error {
	_, err := io.Copy(io.Discard, o.ReadCloser)
	return errors.Join(err, o.cmd.Wait())
}

// imageOf puts layers and what is to be run together.
func imageOf(c v1.Config, layers ...v1.Layer) (v1.Image, error) {
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config = "linux", "amd64", c
	return mutate.ConfigFile(image, config)
}
