package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"splitvm/remote/network"
)

// nic is the one interface of the stack.
const nic tcpip.NICID = 1

// DefaultMTU is what every virtual network has unless told otherwise.
const DefaultMTU = 1500

// Config is what a gateway is made of.
type Config struct {
	Subnet netip.Prefix // of the network, IPv4
	Addr   netip.Addr   // the gateway's, and the name server's
	MTU    int          // 0: DefaultMTU

	// HostLoopback leads connections to Addr to the host's own loopback, where
	// services listen that no guest is meant to reach unless the user says so.
	HostLoopback bool
	// Reachable says which addresses outside guests may connect to; nil: all
	// that are not special (see the package).
	Reachable func(netip.Addr) bool
	// Names answers for the names of the network; nil: there are none.
	Names *Names

	Log *slog.Logger // nil: slog.Default()
}

// Gateway is a network's way out.
type Gateway struct {
	cfg   Config
	log   *slog.Logger
	sw    *network.Switch
	stack *stack.Stack
	link  *link

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	closing sync.Mutex     // between begin and Close
	flows   sync.WaitGroup // goroutines, by begin
	dialer  net.Dialer

	udpFlows, echoes atomic.Int32 // under way
}

// New makes a gateway and a station of it.
func New(sw *network.Switch, cfg Config) (*Gateway, error) {
	if cfg.MTU == 0 {
		cfg.MTU = DefaultMTU
	}
	if !cfg.Addr.Is4() || !cfg.Subnet.Contains(cfg.Addr) {
		return nil, fmt.Errorf("make gateway: %v is not an IPv4 address of %v", cfg.Addr, cfg.Subnet)
	}
	g := &Gateway{cfg: cfg, log: cfg.Log, sw: sw, dialer: net.Dialer{Timeout: dialTime}}
	if g.log == nil {
		g.log = slog.Default()
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.link = &link{send: sw.Send, mac: network.MACOf(cfg.Addr), mtu: uint32(cfg.MTU)}
	if err := g.makeStack(); err != nil {
		g.cancel()
		return nil, fmt.Errorf("make gateway %v: %w", cfg.Addr, err)
	}
	if err := sw.AddStation(g.link.mac, g); err != nil {
		g.Close()
		return nil, fmt.Errorf("make gateway %v: %w", cfg.Addr, err)
	}
	if err := g.serveNames(); err != nil {
		g.Close()
		return nil, fmt.Errorf("make gateway %v: %w", cfg.Addr, err)
	}
	return g, nil
}

var _ network.Station = (*Gateway)(nil)

// Deliver takes a frame from a guest; the switch's port has checked it.
func (g *Gateway) Deliver(f []byte) {
	if e := header.Ethernet(f[network.HeaderSize:]); e.Type() != header.IPv4ProtocolNumber || !g.takeEcho(e) {
		g.link.deliver(f)
	}
}

// makeStack makes a stack that takes packets to every address for its own, and
// answers from any: each guest's peers live in it.
func (g *Gateway) makeStack() (err error) {
	if g.stack, err = newStack(g.link, g.cfg.Addr, g.cfg.Subnet.Bits()); err != nil {
		return err
	}
	for _, set := range []func(tcpip.NICID, bool) tcpip.Error{g.stack.SetPromiscuousMode, g.stack.SetSpoofing} {
		if err := set(nic, true); err != nil {
			return fmt.Errorf("interface: %v", err)
		}
	}
	g.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	g.forwardTCP()
	g.forwardUDP()
	return nil
}

// newStack makes a stack with one interface.
func newStack(l *link, addr netip.Addr, bits int) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	if err := s.CreateNIC(nic, l); err != nil {
		return nil, fmt.Errorf("interface: %v", err)
	}
	own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{
		Address: addressOf(addr), PrefixLen: bits}}
	if err := s.AddProtocolAddress(nic, own, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("address %v: %v", addr, err)
	}
	return s, tuneTCP(s)
}

// tuneTCP gives connections the room that 64 KiB segments and a busy host need.
func tuneTCP(s *stack.Stack) error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 4 << 20}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 4 << 20}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &send, &receive} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("TCP option %T: %v", o, err)
		}
	}
	return nil
}

// Addr is the gateway's address, which is the name server's too.
func (g *Gateway) Addr() netip.Addr { return g.cfg.Addr }

// Subnet is the network's.
func (g *Gateway) Subnet() netip.Prefix { return g.cfg.Subnet }

// MTU is the network's.
func (g *Gateway) MTU() int { return g.cfg.MTU }

// Close takes the gateway off the network and ends all that goes through it.
func (g *Gateway) Close() error {
	g.sw.RemoveStation(g.link.mac)
	g.closing.Lock()
	g.cancel()
	g.closing.Unlock()
	g.stack.Close()
	g.flows.Wait()
	g.stack.Wait()
	return nil
}

// reachable says whether a guest may connect to an address, and where that is.
func (g *Gateway) reachable(a netip.Addr) (netip.Addr, bool) {
	switch {
	case a == g.cfg.Addr:
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), g.cfg.HostLoopback
	case g.cfg.Subnet.Contains(a), !a.IsGlobalUnicast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return a, false
	case g.cfg.Reachable != nil:
		return a, g.cfg.Reachable(a)
	}
	return a, true
}

func addressOf(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }

func addrOf(a tcpip.Address) netip.Addr { return netip.AddrFrom4(a.As4()) }
