// Package dhcp tells guests whose own system asks for it (RFC 2131) the address that
// their port has anyway. It is pure: a packet comes in, and one goes out.
//
// There is nothing to lease: the address is in the MAC address (network.MACOf),
// and a guest that claims another one's gets an answer that it can't use.
package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"splitvm/remote/network"
)

// Ports of UDP.
const (
	ServerPort = 67
	ClientPort = 68
)

// leaseTime is until a guest asks again; nothing depends on it.
const leaseTime = 24 * time.Hour

// Network is what guests are told of theirs.
type Network struct {
	Subnet  netip.Prefix
	Gateway netip.Addr // router, name server and DHCP server
	MTU     int
}

// Answer answers a guest's packet. Nil is no answer: it is none that asks us
// something. The answer is for the client whose MAC address is returned.
func (n Network) Answer(packet []byte) (answer []byte, to network.MAC) {
	ask, err := dhcpv4.FromBytes(packet)
	if err != nil || ask.OpCode != dhcpv4.OpcodeBootRequest || ask.HWType != iana.HWTypeEthernet || len(ask.ClientHWAddr) != len(to) {
		return nil, to
	}
	to = network.MAC(ask.ClientHWAddr)
	addr, ok := n.addrOf(to)
	if !ok {
		return nil, to
	}
	kind, more := n.decide(ask, addr)
	if kind == dhcpv4.MessageTypeNone {
		return nil, to
	}
	reply, err := dhcpv4.NewReplyFromRequest(ask, append(more, dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(n.Gateway.AsSlice())))...)
	if err != nil {
		return nil, to
	}
	return reply.ToBytes(), to
}

// addrOf is the address that goes with a MAC address.
func (n Network) addrOf(m network.MAC) (netip.Addr, bool) {
	a := netip.AddrFrom4([4]byte(m[2:]))
	ok := m == network.MACOf(a) && n.Subnet.Contains(a) && a != n.Gateway && a != n.Subnet.Masked().Addr()
	return a, ok
}

// decide says what kind of answer is due, and with what in it.
func (n Network) decide(ask *dhcpv4.DHCPv4, addr netip.Addr) (dhcpv4.MessageType, []dhcpv4.Modifier) {
	lease := append(n.facts(), dhcpv4.WithYourIP(addr.AsSlice()), dhcpv4.WithLeaseTime(uint32(leaseTime/time.Second)))
	switch ask.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return dhcpv4.MessageTypeOffer, lease
	case dhcpv4.MessageTypeInform:
		return dhcpv4.MessageTypeAck, n.facts()
	case dhcpv4.MessageTypeRequest:
		if s := ask.ServerIdentifier(); s != nil && !s.Equal(n.Gateway.AsSlice()) {
			return dhcpv4.MessageTypeNone, nil // another one's offer is taken
		}
		wanted := ask.RequestedIPAddress()
		if wanted == nil {
			wanted = ask.ClientIPAddr
		}
		if !wanted.Equal(addr.AsSlice()) {
			return dhcpv4.MessageTypeNak, nil
		}
		return dhcpv4.MessageTypeAck, lease
	}
	return dhcpv4.MessageTypeNone, nil
}

// facts are those that do not depend on the guest.
func (n Network) facts() []dhcpv4.Modifier {
	gateway := net.IP(n.Gateway.AsSlice())
	return []dhcpv4.Modifier{
		dhcpv4.WithNetmask(net.CIDRMask(n.Subnet.Bits(), 32)), dhcpv4.WithRouter(gateway), dhcpv4.WithDNS(gateway),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, uint16(n.MTU)))),
	}
}
