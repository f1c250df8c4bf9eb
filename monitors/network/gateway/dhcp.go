package gateway

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"splitvm/monitors/network/dhcp"
	"splitvm/monitors/network/netstack"
	"splitvm/remote/network"
)

var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// takeDHCP answers a guest that asks for its address, if frame is such a question: the
// stack can't answer one that has none yet. frame is from the Ethernet header on.
func (g *Gateway) takeDHCP(frame []byte) bool {
	ip := header.IPv4(frame[header.EthernetMinimumSize:])
	if ip.TransportProtocol() != header.UDPProtocolNumber || int(ip.TotalLength()) > len(ip) || int(ip.TotalLength()) < int(ip.HeaderLength())+header.UDPMinimumSize {
		return false
	}
	udp := header.UDP(ip[ip.HeaderLength():ip.TotalLength()])
	to := netstack.AddrOf(ip.DestinationAddress())
	if udp.DestinationPort() != dhcp.ServerPort || to != everybody && to != g.cfg.Addr || ip.FragmentOffset() != 0 || ip.More() {
		return false
	}
	n := dhcp.Network{Subnet: g.cfg.Subnet, Gateway: g.cfg.Addr, MTU: g.cfg.MTU}
	if answer, client := n.Answer(udp.Payload()); answer != nil {
		g.sw.Send(g.datagram(client, everybody, dhcp.ServerPort, dhcp.ClientPort, answer))
	}
	return true
}

// datagram is a frame of the gateway's.
func (g *Gateway) datagram(mac network.MAC, to netip.Addr, sport, dport uint16, payload []byte) []byte {
	const headers = network.HeaderSize + header.EthernetMinimumSize + header.IPv4MinimumSize + header.UDPMinimumSize
	f := append(make([]byte, headers, headers+len(payload)), payload...)
	e := header.Ethernet(f[network.HeaderSize:])
	e.Encode(&header.EthernetFields{SrcAddr: g.link.LinkAddress(), DstAddr: tcpip.LinkAddress(mac[:]), Type: header.IPv4ProtocolNumber})
	ip := header.IPv4(e[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(ip)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber),
		SrcAddr: netstack.AddressOf(g.cfg.Addr), DstAddr: netstack.AddressOf(to)})
	ip.SetChecksum(^ip.CalculateChecksum())
	udp := header.UDP(ip[header.IPv4MinimumSize:])
	udp.Encode(&header.UDPFields{SrcPort: sport, DstPort: dport, Length: uint16(len(udp))})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(udp)))
	udp.SetChecksum(^udp.CalculateChecksum(checksum.Checksum(payload, sum)))
	return f
}
