// Package wire is what travels between the hosts of a mesh: messages one way on a
// connection, a hello and then frames. It knows nothing of who may send what.
//
// A header is of 16 bytes, little-endian: magic, length of what follows, and the sender's
// vID. The hello is one with the version in the place of the vID, followed by the tag of
// the rack and the member whose host sends.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"splitvm/remote/network"
)

// Sizes in bytes, and what headers begin with.
const (
	headerSize = 16
	HelloSize  = headerSize + 16

	magicHello = 0x484d5653 // "SVMH"
	magicFrame = 0x464d5653 // "SVMF"
	version    = 1

	MinFrame = network.HeaderSize + 14
)

var (
	errMagic   = errors.New("not a message of the mesh")
	errLength  = errors.New("a message of an impossible length")
	errVersion = fmt.Errorf("the other host speaks another version of the mesh, not %d: run the same release on all", version)
)

// Hello is who sends.
type Hello struct {
	Rack uint64 // its tag
	Host uint64 // member
}

// Encode returns the message, of HelloSize bytes.
func (h Hello) Encode() []byte {
	b := header(make([]byte, 0, HelloSize), magicHello, HelloSize-headerSize, version)
	b = binary.LittleEndian.AppendUint64(b, h.Rack)
	return binary.LittleEndian.AppendUint64(b, h.Host)
}

func header(b []byte, magic, length uint32, id uint64) []byte {
	b = binary.LittleEndian.AppendUint32(b, magic)
	b = binary.LittleEndian.AppendUint32(b, length)
	return binary.LittleEndian.AppendUint64(b, id)
}

// DecodeHello reads b[:HelloSize].
func DecodeHello(b []byte) (Hello, error) {
	le := binary.LittleEndian
	switch {
	case le.Uint32(b) != magicHello:
		return Hello{}, errMagic
	case le.Uint64(b[8:]) != version:
		return Hello{}, errVersion
	case le.Uint32(b[4:]) != HelloSize-headerSize:
		return Hello{}, errLength
	}
	return Hello{Rack: le.Uint64(b[16:]), Host: le.Uint64(b[24:])}, nil
}

// Header is what goes before a frame of so many bytes.
func Header(from uint64, length int) (b [headerSize]byte) {
	header(b[:0], magicFrame, uint32(length), from)
	return b
}

// AppendFrame appends a message.
func AppendFrame(b []byte, from uint64, frame []byte) []byte {
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
	case length < MinFrame || length > network.MaxFrame:
		return 0, nil, 0, errLength
	}
	size = headerSize + int(length)
	if len(b) < size {
		return 0, nil, 0, nil
	}
	return le.Uint64(b[8:]), b[headerSize:size:size], size, nil
}

// receiveBytes is what one system call receives, at the most. What is left of a frame is
// moved to the front when there is no room for one behind it.
const receiveBytes = 1 << 20

// Scan reads frames and gives each to take, until that fails or the stream ends.
func Scan(r io.Reader, take func(from uint64, frame []byte) error) error {
	buf := make([]byte, receiveBytes)
	at, end := 0, 0 // received, but not taken yet
	for {
		n, err := r.Read(buf[end:])
		end += n
		for at < end {
			from, frame, size, err := decodeFrame(buf[at:end])
			if err != nil {
				return err
			}
			if size == 0 {
				break
			}
			if err := take(from, frame); err != nil {
				return err
			}
			at += size
		}
		switch {
		case err == io.EOF && at < end:
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case at == end:
			at, end = 0, 0
		case len(buf)-end < headerSize+network.MaxFrame && at > 0:
			at, end = 0, copy(buf, buf[at:end])
		}
	}
}
