package layer

import (
	"encoding/binary"
	"hash/crc32"
)

// BlockSize is the size of a block in bytes.
const BlockSize = 4096

const (
	entrySize  = 16
	mapStart   = 4096 // where the entries begin
	stripeSize = 256  // blocks whose entries are in one page of the map
)

func mapSize(blocks uint64) int64       { return mapStart + int64(blocks)*entrySize }
func entryOffset(block uint64) int64    { return mapStart + int64(block)*entrySize }
func blockOffset(block uint64) int64    { return int64(block) * BlockSize }
func entryBlock(off int64) (blk uint64) { return uint64(max(off-mapStart, 0)) / entrySize }
func sumOf(block []byte) (crc uint32)   { return crc32.Checksum(block, castagnoli) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// place is where a block's content is. The numbers are on disk.
type place uint8

const (
	never place = 0 // not written in this layer
	zeros place = 1
	slotA place = 2
	slotB place = 3
)

func (p place) isSlot() bool { return p >= slotA }

// other is a slot that is not p.
func (p place) other() place {
	if p == slotA {
		return slotB
	}
	return slotA
}

// entry is what the map says of a block.
type entry struct {
	sum       [2]uint32 // of slot a and b
	gen       uint64    // 40 bits
	cur, prev place
}

// sumAt returns the checksum that slot p should have.
func (e *entry) sumAt(p place) uint32 { return e.sum[p-slotA] }

func (e *entry) encode(b []byte, block uint64) {
	b = b[:entrySize]
	le := binary.LittleEndian
	le.PutUint32(b[0:], e.sum[0])
	le.PutUint32(b[4:], e.sum[1])
	le.PutUint64(b[8:], e.gen&maxGen)
	b[13] = byte(e.cur) | byte(e.prev)<<2
	le.PutUint16(b[14:], check(b, block))
}

// decode returns false if the entry is damaged.
func (e *entry) decode(b []byte, block uint64) bool {
	b = b[:entrySize]
	le := binary.LittleEndian
	tail := le.Uint64(b[8:])
	if tail == 0 && le.Uint64(b) == 0 {
		*e = entry{}
		return true
	}
	if le.Uint16(b[14:]) != check(b, block) || b[13] > 15 {
		return false
	}
	*e = entry{
		sum:  [2]uint32{le.Uint32(b[0:]), le.Uint32(b[4:])},
		gen:  tail & maxGen,
		cur:  place(b[13] & 3),
		prev: place(b[13] >> 2),
	}
	return true
}

const maxGen = 1<<40 - 1

// check is never such that an entry of this block could be all zero.
func check(b []byte, block uint64) uint16 {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], block)
	c := crc32.Update(crc32.Checksum(b[:14], castagnoli), castagnoli, n[:])
	return uint16(c^c>>16) | 1
}
