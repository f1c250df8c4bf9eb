package wire

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// LineSum is the CRC-32C of a line.
func LineSum(line []byte) uint32 { return crc32.Checksum(line, castagnoli) }

// BodySum computes a body checksum: give it meta once, then each line's
// checksum in order.
type BodySum struct {
	crc uint32
	buf [4]byte
}

// Reset begins a body with its meta part, which may be empty.
func (s *BodySum) Reset(meta []byte) { s.crc = crc32.Update(0, castagnoli, meta) }

// AddLine appends the checksum of the next line.
func (s *BodySum) AddLine(sum uint32) {
	binary.LittleEndian.PutUint32(s.buf[:], sum)
	s.crc = crc32.Update(s.crc, castagnoli, s.buf[:])
}

// Sum returns the body checksum.
func (s *BodySum) Sum() uint32 { return s.crc }
