package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Sizes of what a port carries.
const (
	HeaderSize = 12                      // of the virtio_net_hdr_v1 before each frame
	MaxFrame   = HeaderSize + 14 + 65535 // header, Ethernet header and the longest IP packet

	etherSize = 14
	minIPv4   = 20
	minMSS    = 48 // as Linux has it (TCP_MIN_MSS less options): segments must not be all headers
)

// EtherTypes that a port carries.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
)

// Fields of the virtio_net_hdr_v1.
const (
	flagNeedsChecksum = 1
	gsoNone           = 0
	gsoTCPv4          = 1
	gsoECN            = 0x80
)

// MAC is an Ethernet address.
type MAC [6]byte

// MACOf is the station address that goes with an IPv4 address: locally
// administered, and as unique as the address.
func MACOf(a netip.Addr) MAC {
	b := a.As4()
	return MAC{0x02, 0x53, b[0], b[1], b[2], b[3]}
}

// Group tells whether the address is that of several stations, or of all.
func (m MAC) Group() bool { return m[0]&1 != 0 }

// frame is a frame with its header. It came from a guest, so that nothing is
// known of it before check.
type frame []byte

var (
	errShort  = errors.New("shorter than its headers")
	errHeader = errors.New("its virtio_net_hdr does not fit the frame")
)

func (f frame) flags() byte       { return f[0] }
func (f frame) gso() byte         { return f[1] }
func (f frame) gsoSize() int      { return int(binary.LittleEndian.Uint16(f[4:])) }
func (f frame) csumStart() int    { return int(binary.LittleEndian.Uint16(f[6:])) }
func (f frame) csumOffset() int   { return int(binary.LittleEndian.Uint16(f[8:])) }
func (f frame) ether() []byte     { return f[HeaderSize:] }
func (f frame) dst() MAC          { return MAC(f[HeaderSize:]) }
func (f frame) src() MAC          { return MAC(f[HeaderSize+6:]) }
func (f frame) etherType() uint16 { return binary.BigEndian.Uint16(f[HeaderSize+12:]) }
func (f frame) payload() []byte   { return f[HeaderSize+etherSize:] }

// check tells whether the headers are within the frame and what they promise
// can be done to it: everything that looks at a frame later relies on it.
func (f frame) check() error {
	if len(f) < HeaderSize+etherSize || len(f) > MaxFrame {
		return errShort
	}
	switch f.etherType() {
	case etherIPv4:
		if p := f.payload(); len(p) < minIPv4 || p[0]>>4 != 4 || int(p[0]&15)*4 < minIPv4 || int(p[0]&15)*4 > len(p) {
			return errShort
		}
	case etherARP:
		if len(f.payload()) < arpSize {
			return errShort
		}
	default:
		return fmt.Errorf("EtherType %#04x: ports carry IPv4 and ARP", f.etherType())
	}
	return f.checkOffload()
}

var errSpoofed = errors.New("from an address that is not its sender's")

// checkFrom checks that the frame is whole and from a vNode's addresses, or from no
// IP address, as a guest's is that does not know its own yet.
func (f frame) checkFrom(m MAC, a netip.Addr) error {
	if err := f.check(); err != nil {
		return err
	}
	if from := f.sender(); f.src() != m || from != a && !from.IsUnspecified() {
		return errSpoofed
	}
	return nil
}

// checkOffload checks the virtio_net_hdr.
func (f frame) checkOffload() error {
	if f.flags()&flagNeedsChecksum != 0 {
		if f.csumStart() < etherSize || f.csumStart()+f.csumOffset()+2 > len(f.ether()) {
			return errHeader
		}
	}
	switch f.gso() &^ gsoECN {
	case gsoNone:
		return nil
	case gsoTCPv4:
		if f.etherType() != etherIPv4 || f.gsoSize() < minMSS || f.flags()&flagNeedsChecksum == 0 {
			return errHeader
		}
		_, err := f.tcp()
		return err
	}
	return errHeader
}

// arpSize is an ARP packet's for Ethernet and IPv4 (RFC 826).
const arpSize = 28

// sender is the IPv4 address that the frame says it is from.
func (f frame) sender() netip.Addr {
	p := f.payload()
	if f.etherType() == etherARP {
		return netip.AddrFrom4([4]byte(p[14:]))
	}
	return netip.AddrFrom4([4]byte(p[12:]))
}
