package gateway

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"splitvm/monitors/network/netstack"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	udpIdle  = 3 * time.Minute // after which a UDP flow is forgotten (RFC 4787, 4.3: at least 2)
	maxUDP   = 1024            // UDP flows of a network at a time
	dnsPort  = 53
	datagram = 64 << 10
)

// forwardUDP opens a socket outside for each pair of addresses that a guest
// sends between.
func (g *Gateway) forwardUDP() {
	f := udp.NewForwarder(g.stack, func(r *udp.ForwarderRequest) bool {
		id := r.ID()
		to, ok := g.reachable(netstack.AddrOf(id.LocalAddress))
		if !ok || g.udpFlows.Load() >= maxUDP || !g.begin() {
			return false // ICMP port unreachable
		}
		var queue waiter.Queue
		ep, err := r.CreateEndpoint(&queue)
		if err != nil {
			g.flows.Done()
			return true
		}
		g.udpFlows.Add(1)
		in := gonet.NewUDPConn(&queue, ep)
		go func() {
			defer g.flows.Done()
			defer g.udpFlows.Add(-1)
			defer in.Close()
			g.joinUDP(in, netip.AddrPortFrom(to, id.LocalPort))
		}()
		return true
	})
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, f.HandlePacket)
}

func (g *Gateway) joinUDP(in net.Conn, to netip.AddrPort) {
	out, err := g.dialer.DialContext(g.ctx, "udp4", to.String())
	if err != nil {
		return
	}
	defer out.Close()
	stop := context.AfterFunc(g.ctx, func() { in.Close(); out.Close() })
	defer stop()
	var last atomic.Int64 // when either side said something
	last.Store(time.Now().UnixNano())
	done := make(chan struct{})
	go func() {
		defer close(done)
		relay(in, out, &last)
		in.Close()
	}()
	relay(out, in, &last)
	out.Close()
	<-done
}

// relay carries datagrams until nothing went either way for udpIdle. An error
// of a write, or a refusal that the kernel reports of one before, is a lost
// datagram.
func relay(to, from net.Conn, last *atomic.Int64) {
	buf := make([]byte, datagram)
	for {
		from.SetReadDeadline(time.Unix(0, last.Load()).Add(udpIdle))
		n, err := from.Read(buf)
		switch {
		case err == nil:
			last.Store(time.Now().UnixNano())
			to.Write(buf[:n])
		case refused(err):
		case isTimeout(err) && time.Since(time.Unix(0, last.Load())) < udpIdle:
		default:
			return
		}
	}
}
