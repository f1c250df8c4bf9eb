package layer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	headerSize    = 128
	headerSpacing = 512
	formatVersion = 1
)

var magic = [8]byte{'S', 'V', 'L', 'A', 'Y', 'E', 'R', 0}

// header is the state of a layer as a whole; see the package's documentation.
type header struct {
	sequence               uint64
	id, blocks             uint64
	durable, limit, common uint64
	clean                  bool
}

var errHeader = errors.New("no valid header")

func (h *header) encode(b []byte) {
	b = b[:headerSize]
	clear(b)
	le := binary.LittleEndian
	copy(b, magic[:])
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], BlockSize)
	le.PutUint64(b[16:], h.sequence)
	le.PutUint64(b[24:], h.id)
	le.PutUint64(b[32:], h.blocks)
	le.PutUint64(b[40:], h.durable)
	le.PutUint64(b[48:], h.limit)
	le.PutUint64(b[56:], h.common)
	if h.clean {
		b[64] = 1
	}
	le.PutUint32(b[124:], crc32.Checksum(b[:124], castagnoli))
}

func (h *header) decode(b []byte) error {
	b = b[:headerSize]
	le := binary.LittleEndian
	if [8]byte(b[:8]) != magic || le.Uint32(b[124:]) != crc32.Checksum(b[:124], castagnoli) {
		return errHeader
	}
	if v := le.Uint32(b[8:]); v != formatVersion {
		return fmt.Errorf("format version %d, this program knows %d", v, formatVersion)
	}
	if n := le.Uint32(b[12:]); n != BlockSize {
		return fmt.Errorf("blocks of %d bytes, this program knows %d", n, BlockSize)
	}
	*h = header{
		sequence: le.Uint64(b[16:]), id: le.Uint64(b[24:]), blocks: le.Uint64(b[32:]),
		durable: le.Uint64(b[40:]), limit: le.Uint64(b[48:]), common: le.Uint64(b[56:]), clean: b[64] == 1,
	}
	return nil
}

// read takes the newer of the two that is whole.
func (h *header) read(f File) error {
	var page [2 * headerSpacing]byte
	if _, err := f.ReadAt(page[:], 0); err != nil {
		return err
	}
	var errs []error
	found := false
	for i := range 2 {
		var one header
		if err := one.decode(page[i*headerSpacing:]); err != nil {
			errs = append(errs, err)
		} else if !found || one.sequence > h.sequence {
			*h, found = one, true
		}
	}
	if !found {
		return errors.Join(errs...)
	}
	return nil
}

// write puts the header in the place of the older one.
func (h *header) write(f File) error {
	h.sequence++
	var b [headerSize]byte
	h.encode(b[:])
	_, err := f.WriteAt(b[:], int64(h.sequence%2)*headerSpacing)
	return err
}
