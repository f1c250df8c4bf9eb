package pci

import (
	"encoding/binary"
	"fmt"
)

// Registers of a type 0 header (PCI Local Bus 3.0, 6.1 and 6.2).
const (
	regVendor     = 0x00
	regDevice     = 0x02
	regCommand    = 0x04
	regStatus     = 0x06
	regRevision   = 0x08 // and class in the upper 24 bits
	regBAR0       = 0x10
	regSubVendor  = 0x2c
	regSubDevice  = 0x2e
	regCapability = 0x34
	regLine       = 0x3c
	regFirstCap   = 0x40

	commandMemory = 1 << 1
	commandMaster = 1 << 2
	commandINTx   = 1 << 10 // INTx disable
	statusCaps    = 1 << 4

	numBARs   = 6
	spaceSize = 256
)

// Function is one PCI function: its configuration space and what lies behind
// it. It is built with AddBAR and AddCapability and then given to Host.Plug,
// after which the Host's lock guards it.
type Function struct {
	space [spaceSize]byte // the registers as the guest reads them
	mask  [spaceSize]byte // the bits that the guest may write
	bars  []*bar
	caps  []*capability
	last  int // offset of the last capability's next pointer
	free  int // where the next capability goes

	onMaster []func(on bool)
	master   bool // what onMaster was told last
}

// NewFunction makes a function without BARs and capabilities.
func NewFunction(id ID) *Function {
	f := &Function{last: regCapability, free: regFirstCap}
	put := binary.LittleEndian
	put.PutUint16(f.space[regVendor:], id.Vendor)
	put.PutUint16(f.space[regDevice:], id.Device)
	put.PutUint32(f.space[regRevision:], id.Class<<8|uint32(id.Revision))
	put.PutUint16(f.space[regSubVendor:], id.SubVendor)
	put.PutUint16(f.space[regSubDevice:], id.SubDevice)
	put.PutUint16(f.mask[regCommand:], commandMemory|commandMaster|commandINTx)
	f.mask[regLine] = 0xff
	return f
}

// OnBusMaster has do called whenever the guest lets the function master the
// bus or forbids it, under the Host's lock. It begins forbidden.
func (f *Function) OnBusMaster(do func(on bool)) { f.onMaster = append(f.onMaster, do) }

// Capability is a PCI capability and its owner's part in it.
type Capability struct {
	ID   uint8
	Body []byte // the registers after ID and next pointer
	Mask []byte // bits of Body that the guest may write; nil is none

	// BeforeRead, unless nil, may refresh body, which lives in the
	// configuration space, before the guest reads any of it from off on.
	BeforeRead func(body []byte, off, n int)
	// AfterWrite, unless nil, is told after the guest wrote n bytes from off
	// on; body has them already, as far as Mask let them in.
	AfterWrite func(body []byte, off, n int)
}

type capability struct {
	Capability
	start int // of the body
	body  []byte
}

// AddCapability appends c to the list. It fails when the space is full.
func (f *Function) AddCapability(c Capability) error {
	size := 2 + len(c.Body)
	if size > spaceSize-f.free {
		return fmt.Errorf("add capability %#x of %d bytes: configuration space is full", c.ID, size)
	}
	at := f.free
	f.space[at] = c.ID
	body := f.space[at+2 : at+size : at+size]
	copy(body, c.Body)
	copy(f.mask[at+2:at+size], c.Mask)
	f.space[f.last] = uint8(at)
	f.last, f.free = at+1, (at+size+3)&^3
	f.space[regStatus] |= statusCaps
	f.caps = append(f.caps, &capability{Capability: c, start: at + 2, body: body})
	return nil
}

// read fills p from the configuration space; what lies past it is all ones.
func (f *Function) read(off int, p []byte) {
	if off+len(p) > spaceSize {
		ones(p)
		return
	}
	for _, c := range f.caps {
		if at, n := c.overlap(off, len(p)); n > 0 && c.BeforeRead != nil {
			c.BeforeRead(c.body, at, n)
		}
	}
	copy(p, f.space[off:])
}

// write stores the bits of p that the guest may write and tells the
// capabilities. The caller looks at the BARs afterwards.
func (f *Function) write(off int, p []byte) {
	if off+len(p) > spaceSize {
		return
	}
	for i, v := range p {
		m := f.mask[off+i]
		f.space[off+i] = f.space[off+i]&^m | v&m
	}
	if on := f.command()&commandMaster != 0; on != f.master {
		f.master = on
		for _, do := range f.onMaster {
			do(on)
		}
	}
	for _, c := range f.caps {
		if at, n := c.overlap(off, len(p)); n > 0 && c.AfterWrite != nil {
			c.AfterWrite(c.body, at, n)
		}
	}
}

func (f *Function) command() uint16 { return binary.LittleEndian.Uint16(f.space[regCommand:]) }

// overlap is the part of the n bytes at off of the configuration space that is
// in the capability's body, as offset and length within that.
func (c *capability) overlap(off, n int) (at, length int) {
	start, end := max(off, c.start), min(off+n, c.start+len(c.body))
	return start - c.start, end - start
}

func ones(p []byte) {
	for i := range p {
		p[i] = 0xff
	}
}
