package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

const (
	lz4LegacyMagic = 0x184C2102
	lz4BlockSize   = 8 << 20 // uncompressed, of all blocks but the last
)

// lz4Blocks reads a legacy frame (lz4 -l; lz4_Frame_format.md, "Legacy frame"):
// the magic, then blocks, each after its compressed size. The blocks are
// independent, and each is decompressed whole into one of two buffers that are
// used again and again, which is three times as fast as a stream that fills
// fresh memory. While the caller has one block, a goroutine decompresses the
// next; next and Close wait for it.
type lz4Blocks struct {
	r        io.Reader
	in       []byte
	out      [2][]byte
	turn     int
	blocks   int // given out
	sawMagic bool
	ahead    chan lz4Block // the next block, under way; nil: none
}

// lz4Block is a decompressed block, or why there is none.
type lz4Block struct {
	data []byte
	err  error
}

func openLZ4(r io.Reader) (chunks, error) { return &lz4Blocks{r: r}, nil }

func (b *lz4Blocks) next() ([]byte, error) {
	if b.ahead == nil {
		b.start()
	}
	block := <-b.ahead
	b.ahead = nil
	if block.err == nil && b.blocks > 0 { // the first may be for the headers alone
		b.start()
	}
	b.blocks++
	return block.data, block.err
}

// start decompresses the next block in the buffer that the caller does not have.
func (b *lz4Blocks) start() {
	done := make(chan lz4Block, 1)
	b.ahead, b.turn = done, 1-b.turn
	go func() {
		data, err := b.decompress(&b.out[b.turn])
		done <- lz4Block{data, err}
	}()
}

// Close waits for the block that is under way.
func (b *lz4Blocks) Close() error {
	if b.ahead != nil {
		<-b.ahead
		b.ahead = nil
	}
	return nil
}

// decompress reads one block into out.
func (b *lz4Blocks) decompress(out *[]byte) ([]byte, error) {
	n, err := b.blockSize()
	if err != nil {
		return nil, err
	}
	if *out == nil {
		*out = make([]byte, lz4BlockSize)
	}
	if uint32(cap(b.in)) < n {
		b.in = make([]byte, n)
	}
	if _, err := io.ReadFull(b.r, b.in[:n]); err != nil {
		return nil, fmt.Errorf("block of %d bytes: %w", n, errors.Join(io.ErrUnexpectedEOF, err))
	}
	k, err := lz4.UncompressBlock(b.in[:n], *out)
	if err != nil {
		return nil, err
	}
	if k == 0 {
		return nil, errors.New("empty block")
	}
	return (*out)[:k], nil
}

// blockSize is the next block's compressed size. A frame may be followed by
// another one: its magic stands in place of a size.
func (b *lz4Blocks) blockSize() (uint32, error) {
	for {
		var word [4]byte
		if _, err := io.ReadFull(b.r, word[:]); err != nil {
			return 0, err
		}
		n := binary.LittleEndian.Uint32(word[:])
		switch {
		case n == lz4LegacyMagic:
			b.sawMagic = true
		case !b.sawMagic || n == 0 || int64(n) > int64(lz4.CompressBlockBound(lz4BlockSize)):
			return 0, fmt.Errorf("block of %d bytes", n)
		default:
			return n, nil
		}
	}
}
