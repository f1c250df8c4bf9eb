package blockwire

import (
	"encoding/binary"
	"fmt"

	"splitvm/remote"
	"splitvm/remote/wire"
)

// The operations. The numbers are append-only.
const (
	Open    wire.Op = 32
	Claim   wire.Op = 33
	Read    wire.Op = 34
	Write   wire.Op = 35
	Flush   wire.Op = 36
	Discard wire.Op = 37
	Zeroes  wire.Op = 38
	Changed wire.Op = 39
)

// FlagDurable has a change on stable storage before it is answered.
const FlagDurable wire.Flags = 1 << 4

// MaxSectors is how many sectors a READ or WRITE has at most.
const MaxSectors = remote.MaxBlockIO / remote.SectorSize

// ExtentSize is the unit in which replicas are compared, in bytes.
const ExtentSize = 1 << 20

var opText = map[wire.Op]string{
	Open: "open", Claim: "claim", Read: "read", Write: "write", Flush: "flush", Discard: "discard",
	Zeroes: "write of zeroes", Changed: "list of changes", wire.Ping: "ping",
}

// Name names an operation.
func Name(op wire.Op) string {
	if s := opText[op.Request()]; s != "" {
		return s
	}
	return op.Request().String()
}

// Volume is the volume that a message is about.
func Volume(h *wire.Header) remote.VolumeID { return remote.VolumeID(h.Object) }

// Object is a volume as a header has it.
func Object(id remote.VolumeID) remote.VRegionID { return remote.VRegionID(id) }

var errBody = fmt.Errorf("%w: body does not fit the operation", remote.Protocol)

// BodySize returns the length of the body that a request of the operation has,
// its meta part and its payload. An error is of kind remote.Protocol.
func BodySize(h *wire.Header) (meta, payload int, err error) {
	n := int(h.Length)
	switch h.Op {
	case Write:
		if n == 0 || n > remote.MaxBlockIO || n%remote.SectorSize != 0 {
			return 0, 0, errBody
		}
		return 0, n, nil
	case Read:
		if n != 0 || h.Count == 0 || h.Count > MaxSectors {
			return 0, 0, errBody
		}
	case Discard, Zeroes:
		if n != LengthSize {
			return 0, 0, errBody
		}
	case Flush, wire.Ping:
		if n != 0 {
			return 0, 0, errBody
		}
	}
	if n > wire.MaxMeta {
		return 0, 0, errBody
	}
	return n, 0, nil
}

// LengthSize is the size of the meta part of DISCARD and ZEROES.
const LengthSize = 8

// PutLength encodes that.
func PutLength(b []byte, n uint64) { binary.LittleEndian.PutUint64(b, n) }

// Length decodes it.
func Length(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
