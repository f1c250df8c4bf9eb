package mesh

import (
	"encoding/binary"
	"errors"
	"fmt"

	"splitvm/remote/network"
)

// A connection carries messages one way: a hello and then frames. A header is of 16
// bytes, little-endian: magic, length of what follows, and the sender's vID. The
// hello is one with the version in the place of the vID, followed by the tag of the rack
// and the member whose host sends.
const (
	headerSize = 16
	helloSize  = headerSize + 16

	magicHello = 0x484d5653 // "SVMH"
	magicFrame = 0x464d5653 // "SVMF"
	version    = 1

	minFrame = network.HeaderSize + 14
)

var (
	errMagic   = errors.New("not a message of the mesh")
	errLength  = errors.New("a message of an impossible length")
	errVersion = fmt.Errorf("the other host speaks another version of the mesh, not %d: run the same release on all", version)
)

// hello is who sends.
type hello struct {
	rack, host uint64
}

func (h hello) encode() []byte {
	b := header(make([]byte, 0, helloSize), magicHello, helloSize-headerSize, version)
	b = binary.LittleEndian.AppendUint64(b, h.rack)
	return binary.LittleEndian.AppendUint64(b, h.host)
}

func header(b []byte, magic, length uint32, id uint64) []byte {
	b = binary.LittleEndian.AppendUint32(b, magic)
	b = binary.LittleEndian.AppendUint32(b, length)
	return binary.LittleEndian.AppendUint64(b, id)
}

// decodeHello reads b[:helloSize].
func decodeHello(b []byte) (hello, error) {
	le := binary.LittleEndian
	switch {
	case le.Uint32(b) != magicHello:
		return hello{}, errMagic
	case le.Uint64(b[8:]) != version:
		return hello{}, errVersion
	case le.Uint32(b[4:]) != helloSize-headerSize:
		return hello{}, errLength
	}
	return hello{rack: le.Uint64(b[16:]), host: le.Uint64(b[24:])}, nil
}

// encodeFrame appends a message.
func encodeFrame(b []byte, from uint64, frame []byte) []byte {
	return append(header(b, magicFrame, uint32(len(frame)), from), frame...)
}

// decodeFrame reads the message at the beginning of b; size is its length, or 0 if
// it is not all there yet. The frame is a part of b, of which nothing is known but that
// its length is one of a frame.
func decodeFrame(b []byte) (from uint64, frame []byte, size int, err error) {
	if len(b) < headerSize {
		return 0, nil, 0, nil
	}
	le := binary.LittleEndian
	length := le.Uint32(b[4:])
	switch {
	case le.Uint32(b) != magicFrame:
		return 0, nil, 0, errMagic
	case length < minFrame || length > network.MaxFrame:
		return 0, nil, 0, errLength
	}
	size = headerSize + int(length)
	if len(b) < size {
		return 0, nil, 0, nil
	}
	return le.Uint64(b[8:]), b[headerSize:size:size], size, nil
}
