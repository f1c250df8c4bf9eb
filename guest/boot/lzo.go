package boot

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/anchore/go-lzo"
)

// The container of lzop, as far as the kernel's build makes it and its
// decompressor reads it (lib/decompress_unlzo.c).
const (
	lzopMagic     = "\x89LZO\x00\x0d\x0a\x1a\x0a"
	lzopBlockMax  = 256 << 10
	lzopHasFilter = 0x800
	lzopVersion94 = 0x0940 // from it on, headers have a level and a longer time
)

// lzoBlocks reads the blocks of an lzop file.
type lzoBlocks struct {
	r       io.Reader
	in, out []byte
}

func openLZO(r io.Reader) (chunks, error) {
	b := &lzoBlocks{r: r, in: make([]byte, lzopBlockMax), out: make([]byte, lzopBlockMax)}
	return b, b.header()
}

// header skips the file's header: magic, versions and method, level, flags,
// filter, mode and times, the file's name after its length, a checksum.
func (b *lzoBlocks) header() error {
	if err := b.read(len(lzopMagic) + 7); err != nil {
		return err
	}
	modern := binary.BigEndian.Uint16(b.in[len(lzopMagic):]) >= lzopVersion94
	rest := 8 // mode, mtime_low
	if modern {
		rest += 4 // mtime_high
		if err := b.read(1); err != nil {
			return err
		}
	}
	if err := b.read(4); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(b.in)&lzopHasFilter != 0 {
		rest += 4
	}
	if err := b.read(rest + 1); err != nil {
		return err
	}
	return b.read(int(b.in[rest]) + 4)
}

// read fills the first n bytes of in.
func (b *lzoBlocks) read(n int) error {
	_, err := io.ReadFull(b.r, b.in[:n])
	return err
}

// next reads one block: uncompressed and compressed size, a checksum, data. A
// block that did not shrink is stored.
func (b *lzoBlocks) next() ([]byte, error) {
	if err := b.read(4); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(b.in)
	if size == 0 {
		return nil, io.EOF
	}
	if err := b.read(8); err != nil {
		return nil, err
	}
	packed := binary.BigEndian.Uint32(b.in)
	if size > lzopBlockMax || packed > size || packed == 0 {
		return nil, fmt.Errorf("block of %d bytes for %d", packed, size)
	}
	if err := b.read(int(packed)); err != nil {
		return nil, err
	}
	if packed == size {
		return b.in[:packed], nil
	}
	n, err := lzo.Decompress(b.in[:packed], b.out[:size])
	if err != nil || n != int(size) {
		return nil, fmt.Errorf("block of %d bytes gave %d of %d: %w", packed, n, size, err)
	}
	return b.out[:n], nil
}
