package block

import (
	"encoding/binary"
	"errors"
	"fmt"

	"splitvm/vmm/virtio/virtq"
)

// Request types (virtio 1.2, 5.2.6).
const (
	typeIn          = 0
	typeOut         = 1
	typeFlush       = 4
	typeGetID       = 8
	typeDiscard     = 11
	typeWriteZeroes = 13
)

// status is a request's outcome as the guest reads it (5.2.6).
type status uint8

const (
	statusOK     status = 0
	statusIOErr  status = 1
	statusUnsupp status = 2

	pending status = 0xff // not an outcome: the backend has to do it
)

const (
	headerSize  = 16 // type, reserved, sector
	segmentSize = 16 // sector, number of sectors, flags
	unmapFlag   = 1
)

func statusOf(err error) status {
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, ErrUnsupported):
		return statusUnsupp
	}
	return statusIOErr
}

// parse fills the Request from the chain and returns pending, or the outcome
// of one that needs no backend. An error means that the chain is no request.
func (j *job) parse() (status, error) {
	var header [headerSize]byte
	if j.chain.ReadableLen() < headerSize || j.chain.WritableLen() < 1 {
		return 0, fmt.Errorf("%w: a block request of %d readable and %d writable bytes",
			virtq.ErrBroken, j.chain.ReadableLen(), j.chain.WritableLen())
	}
	if err := j.chain.Load(0, header[:]); err != nil {
		return 0, fmt.Errorf("block request header: %w", err)
	}
	j.Request = Request{Memory: j.Memory[:0], Durable: j.queue.dev.writethrough(j.queue.features), owner: j}
	sector := binary.LittleEndian.Uint64(header[8:])
	switch binary.LittleEndian.Uint32(header[0:]) {
	case typeIn:
		return j.parseRead(sector), nil
	case typeOut:
		return j.parseWrite(sector), nil
	case typeFlush:
		j.Op = OpFlush
		return pending, nil
	case typeGetID:
		return j.getID(), nil
	case typeDiscard:
		return j.parseRange(OpDiscard), nil
	case typeWriteZeroes:
		return j.parseRange(OpWriteZeroes), nil
	}
	return statusUnsupp, nil
}

func (j *job) parseRead(sector uint64) status {
	n := j.chain.WritableLen() - 1
	j.Op = OpRead
	if !j.locate(sector, uint64(n)) {
		return statusIOErr
	}
	var err error
	if j.Memory, err = j.chain.AppendWritable(j.Memory, 0, n); err != nil {
		return statusIOErr
	}
	return pending
}

func (j *job) parseWrite(sector uint64) status {
	n := j.chain.ReadableLen() - headerSize
	j.Op = OpWrite
	if j.queue.dev.info.ReadOnly || !j.locate(sector, uint64(n)) {
		return statusIOErr
	}
	var err error
	if j.Memory, err = j.chain.AppendReadable(j.Memory, headerSize, n); err != nil {
		return statusIOErr
	}
	return pending
}

// parseRange is a discard or write zeroes of one segment (5.2.6.2).
func (j *job) parseRange(op Op) status {
	info := &j.queue.dev.info
	supported := op == OpDiscard && info.Discard || op == OpWriteZeroes && info.WriteZeroes
	if info.ReadOnly {
		return statusIOErr
	}
	if !supported {
		return statusUnsupp
	}
	var segment [segmentSize]byte
	if j.chain.ReadableLen() != headerSize+segmentSize || j.chain.Load(headerSize, segment[:]) != nil {
		return statusIOErr
	}
	n := uint64(binary.LittleEndian.Uint32(segment[8:])) * SectorSize
	flags := binary.LittleEndian.Uint32(segment[12:])
	if flags&^unmapFlag != 0 || op == OpDiscard && flags != 0 {
		return statusUnsupp
	}
	j.Op, j.Unmap = op, flags&unmapFlag != 0
	if n > maxRange || !j.locate(binary.LittleEndian.Uint64(segment[0:]), n) {
		return statusIOErr
	}
	return pending
}

// locate sets Offset and Length; false if the range is not whole sectors of
// the disk.
func (j *job) locate(sector, n uint64) bool {
	sectors := j.queue.dev.info.Size / SectorSize
	if n == 0 || n%SectorSize != 0 || sector > sectors || n/SectorSize > sectors-sector {
		return false
	}
	j.Offset, j.Length = sector*SectorSize, n
	return true
}

// getID answers with the serial number, padded with zeroes.
func (j *job) getID() status {
	var id [serialSize]byte
	copy(id[:], j.queue.dev.Serial)
	n := min(j.chain.WritableLen()-1, serialSize)
	if j.chain.Store(0, id[:n]) != nil {
		return statusIOErr
	}
	return statusOK
}
