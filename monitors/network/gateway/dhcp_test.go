package gateway

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"splitvm/monitors/network/dhcp"
	"splitvm/monitors/network/netstack"
	"splitvm/remote/network"
)

// fromNowhere is a datagram of a guest that does not know its address yet, to all.
func fromNowhere(mac network.MAC, payload []byte) []byte {
	const headers = network.HeaderSize + header.EthernetMinimumSize + header.IPv4MinimumSize + header.UDPMinimumSize
	f := append(make([]byte, headers), payload...)
	e := header.Ethernet(f[network.HeaderSize:])
	e.Encode(&header.EthernetFields{SrcAddr: tcpip.LinkAddress(mac[:]), DstAddr: header.EthernetBroadcastAddress, Type: header.IPv4ProtocolNumber})
	ip := header.IPv4(e[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(ip)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber), DstAddr: header.IPv4Broadcast})
	header.UDP(ip[header.IPv4MinimumSize:]).Encode(&header.UDPFields{SrcPort: dhcp.ClientPort, DstPort: dhcp.ServerPort, Length: uint16(len(ip) - header.IPv4MinimumSize)})
	return f
}

// A guest that asks for its address is told that of its port, in a frame that its
// system takes.
func TestDHCP(t *testing.T) {
	sw, _ := newGateway(t, Config{})
	addr := netip.MustParseAddr("10.0.2.77")
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	guest := os.NewFile(uintptr(fds[0]), "guest")
	defer guest.Close()
	p, err := sw.Attach(network.PortConfig{Addr: addr}, os.NewFile(uintptr(fds[1]), "port"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	mac := p.MAC()
	ask, err := dhcpv4.NewDiscovery(mac[:])
	for _, want := range []dhcpv4.MessageType{dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck} {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := guest.Write(fromNowhere(mac, ask.ToBytes())); err != nil {
			t.Fatal(err)
		}
		guest.SetReadDeadline(time.Now().Add(patience))
		f := make([]byte, network.MaxFrame)
		n, err := guest.Read(f)
		if err != nil {
			t.Fatal(err)
		}
		e := header.Ethernet(f[network.HeaderSize:n])
		ip := header.IPv4(e[header.EthernetMinimumSize:])
		udp := header.UDP(ip.Payload())
		sound := ip.IsValid(len(ip)) && ip.IsChecksumValid() && udp.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(), checksum.Checksum(udp.Payload(), 0))
		if e.DestinationAddress() != tcpip.LinkAddress(mac[:]) || !sound || netstack.AddrOf(ip.SourceAddress()) != gwAddr || udp.DestinationPort() != dhcp.ClientPort {
			t.Fatalf("the answer is %x", f[:n])
		}
		answer, err := dhcpv4.FromBytes(udp.Payload())
		if err != nil || answer.MessageType() != want || !answer.YourIPAddr.Equal(net.IP(addr.AsSlice())) || answer.TransactionID != ask.TransactionID {
			t.Fatalf("%v, %v", answer, err)
		}
		ask, err = dhcpv4.NewRequestFromOffer(answer)
		if err != nil {
			t.Fatal(err)
		}
	}
}
