package network

import "encoding/binary"

// Offload is work on frames that a port's guest does itself, if it is left to
// it.
type Offload uint32

// Offloads of a port.
const (
	Checksum Offload = 1 << iota // finish a checksum
	TSO4                         // take TCP over IPv4 in pieces larger than the MTU
)

// tcpIPv4 is where the parts of a TCP packet over IPv4 are, from the Ethernet
// header on.
type tcpIPv4 struct {
	tcp, data int
}

const (
	protoTCP = 6
	minTCP   = 20

	tcpFIN, tcpPSH, tcpCWR = 0x01, 0x08, 0x80
)

// tcp finds the parts of a packet that is to be segmented.
func (f frame) tcp() (tcpIPv4, error) {
	e := f.ether()
	at := tcpIPv4{tcp: etherSize + int(e[etherSize]&15)*4}
	if e[etherSize+9] != protoTCP || f.csumStart() != at.tcp || f.csumOffset() != 16 || at.tcp+minTCP > len(e) {
		return at, errHeader
	}
	at.data = at.tcp + int(e[at.tcp+12]>>4)*4
	if at.data < at.tcp+minTCP || at.data >= len(e) {
		return at, errHeader
	}
	return at, nil
}

// finish gives the receiver the frame as it takes it, in as many pieces as
// that are: a checked frame, whose bytes it may change.
func (f frame) finish(accept Offload, give func(frame)) {
	switch {
	case f.gso()&^gsoECN == gsoTCPv4 && accept&TSO4 == 0:
		f.segment(accept, give)
	case f.flags()&flagNeedsChecksum != 0 && accept&Checksum == 0:
		f.fillChecksum()
		give(f)
	default:
		give(f)
	}
}

// fillChecksum finishes what the sender left to us. The sender put the sum of
// the pseudo header where the checksum goes.
func (f frame) fillChecksum() {
	e, start := f.ether(), f.csumStart()
	sum := fold(add(0, e[start:]))
	if sum == 0xffff {
		sum = 0 // 0 is "no checksum" in UDP, and ^0 the same number
	}
	binary.BigEndian.PutUint16(e[start+f.csumOffset():], ^sum)
	clear(f[:HeaderSize])
}

// segment cuts the packet into segments of gsoSize bytes, as a network card
// would.
func (f frame) segment(accept Offload, give func(frame)) {
	at, err := f.tcp()
	if err != nil {
		return // check has seen it already
	}
	e := f.ether()
	data := e[at.data:]
	piece := make(frame, HeaderSize+at.data+min(len(data), f.gsoSize()))
	seq, id := binary.BigEndian.Uint32(e[at.tcp+4:]), binary.BigEndian.Uint16(e[etherSize+4:])
	flags := e[at.tcp+13]
	for first := true; len(data) > 0; first = false {
		n := min(len(data), f.gsoSize())
		s := piece[:HeaderSize+at.data+n]
		copy(s[copy(s, f[:HeaderSize+at.data]):], data[:n])
		s[1] = gsoNone
		binary.LittleEndian.PutUint16(s[4:], 0)
		p := s.ether()
		binary.BigEndian.PutUint16(p[etherSize+4:], id)
		binary.BigEndian.PutUint32(p[at.tcp+4:], seq)
		p[at.tcp+13] = flags
		if n < len(data) {
			p[at.tcp+13] &^= tcpFIN | tcpPSH
		}
		if !first {
			p[at.tcp+13] &^= tcpCWR // once only (RFC 3168, 6.1.2)
		}
		s.relength(at)
		s.finish(accept, give)
		data, seq, id = data[n:], seq+uint32(n), id+1
	}
}

// relength writes the lengths of a segment, with the checksums that cover
// them: the IP header's whole, TCP's of the pseudo header.
func (f frame) relength(at tcpIPv4) {
	ip := f.ether()[etherSize:]
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[10:], 0)
	binary.BigEndian.PutUint16(ip[10:], ^fold(add(0, ip[:at.tcp-etherSize])))
	length := len(f.ether()) - at.tcp
	pseudo := add(uint64(protoTCP)+uint64(length), ip[12:20])
	binary.BigEndian.PutUint16(f.ether()[at.tcp+16:], fold(pseudo))
}

// add adds p's 16-bit words to a one's complement sum (RFC 1071).
func add(sum uint64, p []byte) uint64 {
	for len(p) >= 8 {
		w := binary.BigEndian.Uint64(p)
		sum += w>>32 + w&0xffffffff
		p = p[8:]
	}
	for len(p) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(p))
		p = p[2:]
	}
	if len(p) == 1 {
		sum += uint64(p[0]) << 8
	}
	return sum
}

// fold makes 16 bits of a sum.
func fold(sum uint64) uint16 {
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
