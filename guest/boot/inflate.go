package boot

import (
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
	"github.com/ulikunitz/xz/lzma"
)

const (
	// maxInflated bounds what is decompressed of a payload. The largest kernels
	// of distributions have some 80 MiB.
	maxInflated = 512 << 20
	// maxDictionary is the largest window that a payload may ask for: what the
	// kernel's own build uses at most (scripts/xz_wrap.sh, zstd -22).
	maxDictionary = 128 << 20
	// chunkSize is how much is decompressed at a time, for formats that are a
	// plain stream.
	chunkSize = 256 << 10

	minPayload  = 16
	sizeTrailer = 4
)

// chunks gives decompressed data piece by piece. A piece is valid until the
// next call; io.EOF comes without one.
type chunks interface {
	next() ([]byte, error)
}

// format is a kind of payload, recognised by its first bytes: the table is the
// kernel's (lib/decompress.c).
type format struct {
	name  string
	magic string
	// trailer: the kernel's build appends the uncompressed size, 4 bytes, to
	// all but gzip, which ends in it by itself (scripts/Makefile.lib).
	trailer bool
	open    func(io.Reader) (chunks, error)
}

var formats = []format{
	{"gzip", "\x1f\x8b", false, openGzip},
	{"gzip", "\x1f\x9e", false, openGzip},
	{"bzip2", "BZh", true, openBzip2},
	{"lzma", "\x5d\x00\x00", true, openLZMA},
	{"xz", "\xfd7zXZ\x00", true, openXZ},
	{"lzo", lzopMagic, true, openLZO},
	{"lz4", "\x02\x21\x4c\x18", true, openLZ4},
	{"zstd", "\x28\xb5\x2f\xfd", true, openZstd},
}

// inflate recognises the payload, n bytes of r, and opens it. The result's size
// is what the payload says of itself, at most maxInflated.
func inflate(r io.ReaderAt, n int64) (*inflated, error) {
	var head [minPayload]byte
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, n), head[:]); err != nil {
		return nil, fmt.Errorf("read kernel payload: %w", err)
	}
	for i := range formats {
		f := &formats[i]
		if !bytes.HasPrefix(head[:], []byte(f.magic)) {
			continue
		}
		var tail [sizeTrailer]byte
		if _, err := io.ReadFull(io.NewSectionReader(r, n-sizeTrailer, sizeTrailer), tail[:]); err != nil {
			return nil, fmt.Errorf("read kernel payload's end: %w", err)
		}
		size := int64(binary.LittleEndian.Uint32(tail[:]))
		if size > maxInflated {
			return nil, fmt.Errorf("%w: %s payload says it has %d MiB; at most %d are taken", ErrImage, f.name, size>>20, maxInflated>>20)
		}
		if f.trailer {
			n -= sizeTrailer
		}
		open := func() (chunks, error) { return f.open(io.NewSectionReader(r, 0, n)) }
		return &inflated{format: f.name, size: size, open: open}, nil
	}
	return nil, fmt.Errorf("%w: bzImage payload starts with % x: of no known compression", ErrImage, head[:8])
}

// streamed cuts a plain stream into chunks.
type streamed struct {
	r   io.Reader
	buf []byte
}

func stream(r io.Reader, err error) (chunks, error) {
	if err != nil {
		return nil, err
	}
	return &streamed{r: r, buf: make([]byte, chunkSize)}, nil
}

func (s *streamed) next() ([]byte, error) {
	n, err := io.ReadFull(s.r, s.buf)
	if n > 0 {
		return s.buf[:n], nil // an error comes again with the next call
	}
	return nil, err
}

func openGzip(r io.Reader) (chunks, error) {
	z, err := gzip.NewReader(r)
	if err == nil {
		z.Multistream(false)
	}
	return stream(z, err)
}

func openBzip2(r io.Reader) (chunks, error) { return stream(bzip2.NewReader(r), nil) }

func openLZMA(r io.Reader) (chunks, error) {
	z, err := lzma.ReaderConfig{DictCap: maxDictionary}.NewReader(r)
	return stream(z, err)
}

// openXZ uses the one library that knows the x86 filter, which the kernel's
// build puts before LZMA2.
func openXZ(r io.Reader) (chunks, error) {
	z, err := xz.NewReader(r, maxDictionary)
	return stream(z, err)
}

// openZstd decodes with a second goroutine that runs ahead; it ends when the
// stream does or is closed.
func openZstd(r io.Reader) (chunks, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxDictionary), zstd.WithDecoderMaxMemory(maxInflated))
	if err != nil {
		return nil, err
	}
	c, err := stream(z, nil)
	return &zstdChunks{c, z}, err
}

// zstdChunks closes the decoder, which owns goroutines.
type zstdChunks struct {
	chunks
	d *zstd.Decoder
}

func (z *zstdChunks) Close() error {
	z.d.Close()
	return nil
}
