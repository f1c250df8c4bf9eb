// Package guesttest has what tests put in the place of a virtual machine on a
// virtual network: a network stack of its own at the far end of a port's cable,
// where a guest's driver and device would be.
package guesttest

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"splitvm/monitors/network/netstack"
	"splitvm/remote/network"
)

// Patience is what a guest has for what must happen.
const Patience = time.Minute

// mtu of every virtual network.
const mtu = 1500

// Guest is a network stack, until the test's end.
type Guest struct {
	Addr    netip.Addr
	Gateway netip.Addr
	t       testing.TB
	stack   *stack.Stack
}

// New makes a guest of the device's end of a cable: a SOCK_SEQPACKET socket in
// non-blocking mode, which is the guest's from here on.
func New(t testing.TB, cable *os.File, addr netip.Prefix, gateway netip.Addr) *Guest {
	t.Helper()
	l := netstack.NewLink(network.MACOf(addr.Addr()), mtu, func(f []byte) { cable.Write(f) })
	s, err := netstack.New(l, addr.Addr(), addr.Bits())
	if err != nil {
		cable.Close()
		t.Fatal(err)
	}
	local, err := tcpip.NewSubnet(netstack.AddressOf(addr.Masked().Addr()), tcpip.MaskFromBytes(net.CIDRMask(addr.Bits(), 32)))
	if err != nil {
		t.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: local, NIC: netstack.NIC},
		{Destination: header.IPv4EmptySubnet, Gateway: netstack.AddressOf(gateway), NIC: netstack.NIC}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		receive(cable, l)
	}()
	t.Cleanup(func() { cable.Close(); <-done; s.Close(); s.Wait() })
	return &Guest{Addr: addr.Addr(), Gateway: gateway, t: t, stack: s}
}

// receive gives the stack frames until the cable ends.
func receive(cable *os.File, l *netstack.Link) {
	buf := make([]byte, network.MaxFrame)
	for {
		n, err := cable.Read(buf)
		if n == 0 || err != nil {
			return
		}
		l.Deliver(buf[:n])
	}
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: netstack.NIC, Addr: netstack.AddressOf(a.Addr()), Port: a.Port()}
}

// Dial connects by TCP.
func (g *Guest) Dial(to netip.AddrPort) (*gonet.TCPConn, error) { return g.DialFor(Patience, to) }

// DialFor connects within a time.
func (g *Guest) DialFor(limit time.Duration, to netip.AddrPort) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return gonet.DialContextTCP(ctx, g.stack, full(to), ipv4.ProtocolNumber)
}

// Listen takes TCP connections at a port.
func (g *Guest) Listen(port uint16) *gonet.TCPListener {
	g.t.Helper()
	l, err := gonet.ListenTCP(g.stack, full(netip.AddrPortFrom(g.Addr, port)), ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { l.Close() })
	return l
}

// UDP has a peer.
func (g *Guest) UDP(to netip.AddrPort) *gonet.UDPConn {
	at := full(to)
	return g.udp(nil, &at)
}

// ListenUDP takes datagrams at a port.
func (g *Guest) ListenUDP(port uint16) *gonet.UDPConn {
	at := full(netip.AddrPortFrom(g.Addr, port))
	return g.udp(&at, nil)
}

func (g *Guest) udp(local, peer *tcpip.FullAddress) *gonet.UDPConn {
	g.t.Helper()
	c, err := gonet.DialUDP(g.stack, local, peer, ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(Patience))
	g.t.Cleanup(func() { c.Close() })
	return c
}

// Resolver asks the network's name server.
func (g *Guest) Resolver() *net.Resolver {
	at := netip.AddrPortFrom(g.Gateway, 53)
	return &net.Resolver{PreferGo: true, Dial: func(_ context.Context, network, _ string) (net.Conn, error) {
		if network == "udp" {
			return g.UDP(at), nil
		}
		return g.Dial(at)
	}}
}
