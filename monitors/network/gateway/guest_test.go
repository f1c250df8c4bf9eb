package gateway

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gipv4 "gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"splitvm/monitors/network/names"
	"splitvm/remote/network"
)

var (
	subnet = netip.MustParsePrefix("10.0.2.0/24")
	gwAddr = netip.MustParseAddr("10.0.2.1")
)

const patience = time.Minute

// newGateway makes a network with a gateway, and names of its own.
func newGateway(t testing.TB, cfg Config) (*network.Switch, *Gateway) {
	t.Helper()
	sw := network.NewSwitch()
	cfg.Subnet, cfg.Addr = subnet, gwAddr
	if cfg.Names == nil {
		cfg.Names = &names.Table{}
	}
	g, err := New(sw, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return sw, g
}

// guest is a network stack at the far end of a port's socket, where a virtual
// machine's device would be.
type guest struct {
	t     testing.TB
	addr  netip.Addr
	stack *stack.Stack
}

func plug(t testing.TB, sw *network.Switch, last byte, accept network.Offload) *guest {
	t.Helper()
	addr := netip.AddrFrom4([4]byte{10, 0, 2, last})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	port, err := sw.Attach(network.PortConfig{Addr: addr}, os.NewFile(uintptr(fds[1]), "port"))
	if err != nil {
		t.Fatal(err)
	}
	port.Accept(accept)
	far := os.NewFile(uintptr(fds[0]), "guest")
	l := &link{send: func(f []byte) { far.Write(f) }, mac: port.MAC(), mtu: DefaultMTU}
	s, err := newStack(l, addr, subnet.Bits())
	if err != nil {
		t.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, Gateway: addressOf(gwAddr), NIC: nic}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, network.MaxFrame)
		for {
			n, err := far.Read(buf)
			if n == 0 || err != nil {
				return
			}
			l.deliver(buf[:n])
		}
	}()
	t.Cleanup(func() { port.Close(); far.Close(); <-done; s.Close(); s.Wait() })
	return &guest{t, addr, s}
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: addressOf(a.Addr()), Port: a.Port()}
}

func (g *guest) dial(to netip.AddrPort) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	return gonet.DialContextTCP(ctx, g.stack, full(to), gipv4.ProtocolNumber)
}

func (g *guest) listen(port uint16) *gonet.TCPListener {
	g.t.Helper()
	l, err := gonet.ListenTCP(g.stack, full(netip.AddrPortFrom(g.addr, port)), gipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { l.Close() })
	return l
}

func (g *guest) udp(to netip.AddrPort) *gonet.UDPConn {
	g.t.Helper()
	at := full(to)
	c, err := gonet.DialUDP(g.stack, nil, &at, gipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	g.t.Cleanup(func() { c.Close() })
	return c
}

// hostAddr is an address of this host's that is not its loopback, as seen by
// guests; without one, the gateway's, which leads to the loopback.
func hostAddr(t testing.TB) (netip.Addr, bool) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr(), true
		}
	}
	return gwAddr, false
}

func listenUDP(t testing.TB, g *guest, at tcpip.FullAddress) *gonet.UDPConn {
	t.Helper()
	c, err := gonet.DialUDP(g.stack, &at, nil, gipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// question is a query for a name's address.
func question(t testing.TB, name string) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}
