package netstack

import (
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// NIC is the one interface of a stack.
const NIC tcpip.NICID = 1

// New makes a stack with one interface, of an address and its network's length.
func New(l *Link, addr netip.Addr, bits int) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	if err := s.CreateNIC(NIC, l); err != nil {
		return nil, fmt.Errorf("interface: %v", err)
	}
	own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{
		Address: AddressOf(addr), PrefixLen: bits}}
	if err := s.AddProtocolAddress(NIC, own, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("address %v: %v", addr, err)
	}
	return s, tuneTCP(s)
}

// tuneTCP gives connections the room that 64 KiB segments and a busy host need.
func tuneTCP(s *stack.Stack) error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	// What one connection may have under way is less than a port's queue holds.
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 2 << 20}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 4 << 20}
	// RACK recovers from the loss of a burst, as a full queue of a port's brings about, by
	// two segments each 200 ms, which is for minutes; without it, SACK does in milliseconds.
	recovery := tcpip.TCPRecovery(0)
	for _, o := range []tcpip.SettableTransportProtocolOption{&recovery, &sack, &moderate, &send, &receive} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("TCP option %T: %v", o, err)
		}
	}
	return nil
}

// AddressOf is an IPv4 address as the stack has it.
func AddressOf(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }

// AddrOf is the address of a stack's IPv4 address.
func AddrOf(a tcpip.Address) netip.Addr { return netip.AddrFrom4(a.As4()) }
