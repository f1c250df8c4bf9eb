package netstack

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"splitvm/remote/network"
)

// maxSegment is what the stack may give us of a TCP stream in one piece.
const maxSegment = 65535 - header.IPv4MaximumHeaderSize

// Link is a stack's interface: frames go out by send, with segmentation and
// checksums left to whom they are for.
type Link struct {
	send func(frame []byte)
	mac  network.MAC
	mtu  uint32

	dispatcher atomic.Pointer[stack.NetworkDispatcher]
	frames     sync.Pool // of *[]byte with network.MaxFrame bytes of room
}

var (
	_ stack.LinkEndpoint = (*Link)(nil)
	_ stack.GSOEndpoint  = (*Link)(nil)
)

// NewLink makes an interface whose frames send takes; they are the link's again when
// it returns.
func NewLink(mac network.MAC, mtu int, send func(frame []byte)) *Link {
	return &Link{send: send, mac: mac, mtu: uint32(mtu)}
}

// MAC is the interface's address.
func (l *Link) MAC() network.MAC { return l.mac }

func (l *Link) MTU() uint32                                  { return l.mtu }
func (l *Link) SetMTU(uint32)                                {}
func (l *Link) MaxHeaderLength() uint16                      { return header.EthernetMinimumSize }
func (l *Link) LinkAddress() tcpip.LinkAddress               { return tcpip.LinkAddress(l.mac[:]) }
func (l *Link) SetLinkAddress(tcpip.LinkAddress)             {}
func (l *Link) IsAttached() bool                             { return l.dispatcher.Load() != nil }
func (l *Link) Wait()                                        {}
func (l *Link) ARPHardwareType() header.ARPHardwareType      { return header.ARPHardwareEther }
func (l *Link) Close()                                       {}
func (l *Link) SetOnCloseAction(func())                      {}
func (l *Link) GSOMaxSize() uint32                           { return maxSegment }
func (l *Link) SupportedGSO() stack.SupportedGSO             { return stack.HostGSOSupported }
func (l *Link) Capabilities() stack.LinkEndpointCapabilities { return linkCapabilities }

// Checksums of what guests send are not looked at: there is no wire that could
// have changed a bit.
const linkCapabilities = stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload

func (l *Link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

func (l *Link) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: l.LinkAddress(), DstAddr: pkt.EgressRoute.RemoteLinkAddress, Type: pkt.NetworkProtocolNumber})
}

func (l *Link) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// WritePackets sends packets of the stack's.
func (l *Link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	buf, _ := l.frames.Get().(*[]byte)
	if buf == nil {
		b := make([]byte, 0, network.MaxFrame)
		buf = &b
	}
	defer l.frames.Put(buf)
	for _, pkt := range list.AsSlice() {
		f := append((*buf)[:0], make([]byte, network.HeaderSize)...)
		for _, part := range pkt.AsSlices() {
			f = append(f, part...)
		}
		leaveUndone(f, pkt)
		l.send(f)
	}
	return list.Len(), nil
}

// leaveUndone says in the virtio_net_hdr what the stack has left to do.
func leaveUndone(f []byte, pkt *stack.PacketBuffer) {
	gso := pkt.GSOOptions
	if gso.Type != stack.GSOTCPv4 || !gso.NeedsCsum {
		return
	}
	start := header.EthernetMinimumSize + gso.L3HdrLen
	f[0] = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	binary.LittleEndian.PutUint16(f[6:], start)
	binary.LittleEndian.PutUint16(f[8:], gso.CsumOffset)
	headers := int(start) + len(pkt.TransportHeader().Slice())
	binary.LittleEndian.PutUint16(f[2:], uint16(headers))
	if len(f)-network.HeaderSize-headers > int(gso.MSS) {
		f[1] = 1 // VIRTIO_NET_HDR_GSO_TCPV4
		binary.LittleEndian.PutUint16(f[4:], gso.MSS)
	}
}

// Deliver gives the stack a frame that has been checked.
func (l *Link) Deliver(f []byte) {
	d := l.dispatcher.Load()
	if d == nil {
		return
	}
	e := header.Ethernet(f[network.HeaderSize:])
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(buffer.NewViewWithData(e))})
	defer pkt.DecRef()
	pkt.RXChecksumValidated = true
	l.ParseHeader(pkt)
	pkt.PktType = tcpip.PacketHost
	if header.IsMulticastEthernetAddress(e.DestinationAddress()) {
		pkt.PktType = tcpip.PacketBroadcast
	}
	(*d).DeliverNetworkPacket(e.Type(), pkt)
}
