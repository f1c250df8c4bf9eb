package layer

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// maxWindow bounds the memory that decompressing takes: zstd's strongest usual
// setting and xz -9 need less.
const maxWindow = 128 << 20

// Compressions of archives, by their first bytes.
var magics = map[string]func(io.Reader) (io.Reader, func(), error){
	"\x1f\x8b": func(r io.Reader) (io.Reader, func(), error) {
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	},
	"\x28\xb5\x2f\xfd": func(r io.Reader) (io.Reader, func(), error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	},
	"\xfd7zXZ\x00": func(r io.Reader) (io.Reader, func(), error) {
		z, err := xz.NewReader(r, maxWindow)
		return z, func() {}, err
	},
	"BZh": func(r io.Reader) (io.Reader, func(), error) { return bzip2.NewReader(r), func() {}, nil },
}

// Decompress returns what is in r, decompressed if it begins as gzip, zstd, xz or
// bzip2 does. Closing it closes r.
func Decompress(r io.ReadCloser) (io.ReadCloser, error) {
	buf := bufio.NewReaderSize(r, 256<<10)
	head, err := buf.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, r.Close())
	}
	for magic, open := range magics {
		if !bytes.HasPrefix(head, []byte(magic)) {
			continue
		}
		z, end, err := open(buf)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("decompress: %w", err), r.Close())
		}
		return &decompressed{z, end, r}, nil
	}
	return &decompressed{buf, func() {}, r}, nil
}

type decompressed struct {
	io.Reader
	end  func()
	file io.Closer
}

func (d *decompressed) Close() error {
	d.end()
	return d.file.Close()
}
