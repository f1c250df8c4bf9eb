package wire

import (
	"encoding/binary"
	"hash/crc32"

	"splitvm/remote"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// LineSum is the CRC-32C of a line.
func LineSum(line []byte) uint32 { return crc32.Checksum(line, castagnoli) }

// BodySum computes a body checksum: give it meta once, then each line's
// checksum in order. It is best kept in something that lives on the heap anyway:
// the CRC's assembly makes its buffer escape.
type BodySum struct {
	crc uint32
	buf [RunSize]byte
}

// Reset begins a body with its meta part, which may be empty.
func (s *BodySum) Reset(meta []byte) { s.crc = crc32.Update(0, castagnoli, meta) }

// ResetRuns begins a body with the meta part that Header.PutRuns makes.
func (s *BodySum) ResetRuns(runs []remote.Run) {
	s.crc = 0
	if inHeader(runs) {
		return
	}
	for _, r := range runs {
		putRun(s.buf[:], r)
		s.crc = crc32.Update(s.crc, castagnoli, s.buf[:])
	}
}

// AddLine appends the checksum of the next line.
func (s *BodySum) AddLine(sum uint32) {
	binary.LittleEndian.PutUint32(s.buf[:4], sum)
	s.crc = crc32.Update(s.crc, castagnoli, s.buf[:4])
}

// AddLines appends the checksums of the lines that mem is made of.
func (s *BodySum) AddLines(mem []byte) {
	for ; len(mem) >= remote.LineSize; mem = mem[remote.LineSize:] {
		s.AddLine(LineSum(mem[:remote.LineSize]))
	}
}

// Sum returns the body checksum.
func (s *BodySum) Sum() uint32 { return s.crc }
