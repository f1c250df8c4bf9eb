package gateway

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"splitvm/monitors/network/guesttest"
	"splitvm/monitors/network/names"
	"splitvm/remote/network"
)

var (
	subnet = netip.MustParsePrefix("10.0.2.0/24")
	gwAddr = netip.MustParseAddr("10.0.2.1")
)

const patience = guesttest.Patience

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

// plug joins a guest to the switch.
func plug(t testing.TB, sw *network.Switch, last byte, accept network.Offload) *guesttest.Guest {
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
	t.Cleanup(func() { port.Close() })
	return guesttest.New(t, os.NewFile(uintptr(fds[0]), "guest"), netip.PrefixFrom(addr, subnet.Bits()), gwAddr)
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
