package vsock

import (
	"encoding/binary"
	"fmt"
)

// CID is the address of a guest or host (virtio 1.2, 5.10.4).
type CID uint64

// HostCID is the host's, for every guest.
const HostCID CID = 2

// Port is a port of a CID.
type Port uint32

// op is what a packet is for (virtio 1.2, 5.10.6).
type op uint16

const (
	opRequest       op = 1
	opResponse      op = 2
	opReset         op = 3
	opShutdown      op = 4
	opData          op = 5
	opCreditUpdate  op = 6
	opCreditRequest op = 7
)

const typeStream = 1

// Flags of opShutdown.
const (
	shutReceive = 1 << 0 // its sender will receive no more
	shutSend    = 1 << 1 // its sender will send no more
	shutBoth    = shutReceive | shutSend
)

// headerSize is the length of struct virtio_vsock_hdr.
const headerSize = 44

// header is before each packet's payload.
type header struct {
	srcCID, dstCID   CID
	srcPort, dstPort Port
	length           uint32 // of the payload
	kind             uint16
	op               op
	flags            uint32
	bufAlloc, fwdCnt uint32 // the sender's buffer, and what left it so far
}

func decode(p *[headerSize]byte) header {
	le := binary.LittleEndian
	return header{
		srcCID: CID(le.Uint64(p[0:])), dstCID: CID(le.Uint64(p[8:])),
		srcPort: Port(le.Uint32(p[16:])), dstPort: Port(le.Uint32(p[20:])),
		length: le.Uint32(p[24:]), kind: le.Uint16(p[28:]), op: op(le.Uint16(p[30:])), flags: le.Uint32(p[32:]),
		bufAlloc: le.Uint32(p[36:]), fwdCnt: le.Uint32(p[40:]),
	}
}

func (h header) encode(p *[headerSize]byte) {
	le := binary.LittleEndian
	le.PutUint64(p[0:], uint64(h.srcCID))
	le.PutUint64(p[8:], uint64(h.dstCID))
	le.PutUint32(p[16:], uint32(h.srcPort))
	le.PutUint32(p[20:], uint32(h.dstPort))
	le.PutUint32(p[24:], h.length)
	le.PutUint16(p[28:], h.kind)
	le.PutUint16(p[30:], uint16(h.op))
	le.PutUint32(p[32:], h.flags)
	le.PutUint32(p[36:], h.bufAlloc)
	le.PutUint32(p[40:], h.fwdCnt)
}

// reset is the answer to a packet that belongs to nothing.
func (h header) reset() header {
	return header{srcCID: h.dstCID, dstCID: h.srcCID, srcPort: h.dstPort, dstPort: h.srcPort, kind: h.kind, op: opReset}
}

func (h header) String() string {
	return fmt.Sprintf("op %d, port %d to %d, %d bytes", h.op, h.srcPort, h.dstPort, h.length)
}
