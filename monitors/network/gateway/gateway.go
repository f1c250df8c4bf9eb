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
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"splitvm/monitors/network/netstack"
	"splitvm/remote/network"
)

// nic is the one interface of the stack.
const nic = netstack.NIC

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
	link  *netstack.Link

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
	g.link = netstack.NewLink(network.MACOf(cfg.Addr), cfg.MTU, sw.Send)
	if err := g.makeStack(); err != nil {
		g.cancel()
		return nil, fmt.Errorf("make gateway %v: %w", cfg.Addr, err)
	}
	if err := sw.AddStation(g.link.MAC(), g); err != nil {
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

// Deliver takes a frame from a guest; the switch's port has checked it. The
// stack, to which every address is its own, would answer ARP for other guests'.
func (g *Gateway) Deliver(f []byte) {
	e := header.Ethernet(f[network.HeaderSize:])
	switch e.Type() {
	case header.ARPProtocolNumber:
		a := header.ARP(e[header.EthernetMinimumSize:])
		if netip.AddrFrom4([4]byte(a.ProtocolAddressTarget())) != g.cfg.Addr {
			return
		}
	case header.IPv4ProtocolNumber:
		if g.takeDHCP(e) || g.takeEcho(e) {
			return
		}
	}
	g.link.Deliver(f)
}

// makeStack makes a stack that takes packets to every address for its own, and
// answers from any: each guest's peers live in it.
func (g *Gateway) makeStack() (err error) {
	if g.stack, err = netstack.New(g.link, g.cfg.Addr, g.cfg.Subnet.Bits()); err != nil {
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

// Addr is the gateway's address, which is the name server's too.
func (g *Gateway) Addr() netip.Addr { return g.cfg.Addr }

// Subnet is the network's.
func (g *Gateway) Subnet() netip.Prefix { return g.cfg.Subnet }

// MTU is the network's.
func (g *Gateway) MTU() int { return g.cfg.MTU }

// Close takes the gateway off the network and ends all that goes through it.
func (g *Gateway) Close() error {
	g.sw.RemoveStation(g.link.MAC())
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
