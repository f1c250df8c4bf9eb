package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"splitvm/remote"
)

// HeaderSize is the size of a header in bytes.
const HeaderSize = 48

// Magic is "SV" in little-endian.
const Magic = 0x5653

// Version is the protocol's version.
const Version = 1

// RunSize is the size of a run in the body.
const RunSize = 8

// MaxMeta bounds the part of a body that is not lines; runs are its largest
// use in requests, JSON in answers.
const MaxMeta = 16 << 10

// MaxBody bounds a body.
const MaxBody = MaxMeta + remote.MaxBatch*remote.LineSize

// Op is an operation. The numbers are append-only.
type Op uint8

// The operations.
const (
	Hello   Op = 1
	Ping    Op = 2
	Read    Op = 3
	Write   Op = 4
	Discard Op = 5
	Create  Op = 6
	Adopt   Op = 7
	Delete  Op = 8
	Stat    Op = 9
	Stats   Op = 10

	// Ops is above the operations of this version.
	Ops Op = 11

	answerBit Op = 0x80
)

var opText = [Ops]string{
	Hello: "hello", Ping: "ping", Read: "read", Write: "write", Discard: "discard", Create: "create",
	Adopt: "adopt", Delete: "delete", Stat: "stat", Stats: "stats",
}

// String names the operation, without regard to the answer bit.
func (o Op) String() string {
	if o = o.Request(); o < Ops && opText[o] != "" {
		return opText[o]
	}
	return fmt.Sprintf("op-%d", uint8(o))
}

// Answer returns the operation with the answer bit.
func (o Op) Answer() Op { return o | answerBit }

// Request returns the operation without the answer bit.
func (o Op) Request() Op { return o &^ answerBit }

// IsAnswer tells whether the answer bit is set.
func (o Op) IsAnswer() bool { return o&answerBit != 0 }

// Flags modify an operation. The bits are append-only.
type Flags uint8

// The flags.
const (
	FlagRuns Flags = 1 << 0 // count runs in meta, instead of one in the header
	FlagSum  Flags = 1 << 1 // the body checksum is there
	FlagZero Flags = 1 << 2 // READ answer: all lines are zero
	FlagMap  Flags = 1 << 3 // READ answer: meta has the map of zero lines
)

// Header is a decoded header. Magic, version and its checksum are implied.
type Header struct {
	Op     Op
	Status remote.Kind
	Flags  Flags
	Count  uint16
	ID     uint32
	Length uint32
	Object remote.VRegionID
	Epoch  remote.Epoch
	Offset uint64
	Sum    uint32
}

// The ways in which a header can be wrong; made once, since a hostile peer may
// cause many.
var (
	errMagic   = fmt.Errorf("%w: header does not begin with the magic number", remote.Protocol)
	errSum     = fmt.Errorf("%w: header checksum mismatch", remote.Protocol)
	errVersion = fmt.Errorf("%w: unknown version", remote.Protocol)
	errLength  = fmt.Errorf("%w: body longer than allowed", remote.Protocol)
)

// Encode writes the header into b[:HeaderSize].
func (h *Header) Encode(b []byte) {
	b = b[:HeaderSize]
	le := binary.LittleEndian
	le.PutUint16(b[0:], Magic)
	b[2] = Version
	b[3] = byte(h.Op)
	b[4] = byte(h.Status)
	b[5] = byte(h.Flags)
	le.PutUint16(b[6:], h.Count)
	le.PutUint32(b[8:], h.ID)
	le.PutUint32(b[12:], h.Length)
	le.PutUint64(b[16:], uint64(h.Object))
	le.PutUint64(b[24:], uint64(h.Epoch))
	le.PutUint64(b[32:], h.Offset)
	le.PutUint32(b[40:], h.Sum)
	le.PutUint32(b[44:], crc32.Checksum(b[:44], castagnoli))
}

// Decode reads the header from b[:HeaderSize] and checks what can be checked
// without knowing the operation. The errors are of kind remote.Protocol.
func (h *Header) Decode(b []byte) error {
	b = b[:HeaderSize]
	le := binary.LittleEndian
	switch {
	case le.Uint16(b[0:]) != Magic:
		return errMagic
	case crc32.Checksum(b[:44], castagnoli) != le.Uint32(b[44:]):
		return errSum
	case b[2] != Version:
		return errVersion
	}
	*h = Header{
		Op:     Op(b[3]),
		Status: remote.Kind(b[4]),
		Flags:  Flags(b[5]),
		Count:  le.Uint16(b[6:]),
		ID:     le.Uint32(b[8:]),
		Length: le.Uint32(b[12:]),
		Object: remote.VRegionID(le.Uint64(b[16:])),
		Epoch:  remote.Epoch(le.Uint64(b[24:])),
		Offset: le.Uint64(b[32:]),
		Sum:    le.Uint32(b[40:]),
	}
	if h.Length > MaxBody {
		return errLength
	}
	return nil
}

// At returns the vRegion and epoch that the message is about.
func (h *Header) At() remote.Owned { return remote.Owned{VRegion: h.Object, Epoch: h.Epoch} }
