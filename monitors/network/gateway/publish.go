package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"splitvm/monitors/network/netstack"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	gipv4 "gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// Publication is a port of the host's that leads to a guest.
type Publication struct {
	Protocol string         // tcp or udp
	Host     netip.AddrPort // port 0: any that is free
	Guest    netip.AddrPort
}

func (p Publication) String() string {
	return fmt.Sprintf("%v->%v/%s", p.Host, p.Guest, p.Protocol)
}

// Published is a Publication in effect. Close ends it and its connections.
type Published struct {
	Publication // Host has the port that was found
	cancel      context.CancelFunc
	ended       sync.WaitGroup
}

// Close gives the host's port up.
func (p *Published) Close() error {
	p.cancel()
	p.ended.Wait()
	return nil
}

// Publish leads a port of the host's to a guest's. The guest sees the gateway
// as its peer.
func (g *Gateway) Publish(p Publication) (*Published, error) {
	if !g.cfg.Subnet.Contains(p.Guest.Addr()) || p.Guest.Port() == 0 {
		return nil, fmt.Errorf("publish %v: the guest's address is not in %v", p, g.cfg.Subnet)
	}
	ctx, cancel := context.WithCancel(g.ctx)
	pub := &Published{Publication: p, cancel: cancel}
	var err error
	switch p.Protocol {
	case "tcp":
		err = g.publishTCP(ctx, pub)
	case "udp":
		err = g.publishUDP(ctx, pub)
	default:
		err = errors.New("the protocol is neither tcp nor udp")
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("publish %v: %w", p, err)
	}
	return pub, nil
}

func (g *Gateway) publishTCP(ctx context.Context, pub *Published) error {
	l, err := net.Listen("tcp", pub.Host.String())
	if err != nil {
		return err
	}
	pub.Host = l.Addr().(*net.TCPAddr).AddrPort()
	context.AfterFunc(ctx, func() { l.Close() })
	pub.ended.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
					return
				}
				time.Sleep(acceptPause) // out of descriptors, say
				continue
			}
			pub.ended.Go(func() { g.admit(ctx, c.(*net.TCPConn), pub.Guest) })
		}
	})
	return nil
}

// acceptPause is before the next try after an error of accept(2).
const acceptPause = 100 * time.Millisecond

func (g *Gateway) admit(ctx context.Context, out *net.TCPConn, guest netip.AddrPort) {
	if !g.begin() {
		out.Close()
		return
	}
	defer g.flows.Done()
	in, err := g.dialGuest(ctx, guest)
	if err != nil {
		g.log.Debug("network: published port", "guest", guest, "err", err)
		out.SetLinger(0) // a reset, as a guest that refuses would send
		out.Close()
		return
	}
	stop := context.AfterFunc(ctx, func() { in.Close(); out.Close() })
	defer stop()
	g.join(in, out)
}

// publishUDP has a socket of the stack for each peer, as a NAT has ports.
func (g *Gateway) publishUDP(ctx context.Context, pub *Published) error {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(pub.Host))
	if err != nil {
		return err
	}
	pub.Host = c.LocalAddr().(*net.UDPAddr).AddrPort()
	context.AfterFunc(ctx, func() { c.Close() })
	u := &udpPublisher{gateway: g, ctx: ctx, pub: pub, out: c, peers: map[netip.AddrPort]*gonet.UDPConn{}}
	pub.ended.Go(u.serve)
	return nil
}

type udpPublisher struct {
	gateway *Gateway
	ctx     context.Context
	pub     *Published
	out     *net.UDPConn

	mu    sync.Mutex
	peers map[netip.AddrPort]*gonet.UDPConn // guarded by mu
}

func (u *udpPublisher) serve() {
	buf := make([]byte, datagram)
	for {
		n, from, err := u.out.ReadFromUDPAddrPort(buf)
		if u.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a refusal of an earlier datagram
		}
		if in := u.peer(from); in != nil {
			in.Write(buf[:n])
		}
	}
}

// peer is the socket that stands for somebody outside; nil if there are too
// many.
func (u *udpPublisher) peer(from netip.AddrPort) *gonet.UDPConn {
	u.mu.Lock()
	defer u.mu.Unlock()
	if in := u.peers[from]; in != nil {
		return in
	}
	g := u.gateway
	if len(u.peers) >= maxUDP || !g.begin() {
		return nil
	}
	to := tcpip.FullAddress{NIC: nic, Addr: netstack.AddressOf(u.pub.Guest.Addr()), Port: u.pub.Guest.Port()}
	in, err := gonet.DialUDP(g.stack, &tcpip.FullAddress{NIC: nic, Addr: netstack.AddressOf(g.cfg.Addr)}, &to, gipv4.ProtocolNumber)
	if err != nil {
		g.flows.Done()
		return nil
	}
	u.peers[from] = in
	u.pub.ended.Go(func() {
		defer g.flows.Done()
		defer u.forget(from)
		u.answers(in, from)
	})
	return in
}

func (u *udpPublisher) forget(from netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.peers[from].Close()
	delete(u.peers, from)
}

// answers carries the guest's datagrams back until there are none for a while.
func (u *udpPublisher) answers(in *gonet.UDPConn, to netip.AddrPort) {
	stop := context.AfterFunc(u.ctx, func() { in.Close() })
	defer stop()
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	relay(backTo{u.out, to}, in, &last)
}

// backTo is the published socket as a connection with one peer.
type backTo struct {
	*net.UDPConn
	peer netip.AddrPort
}

func (b backTo) Write(p []byte) (int, error) { return b.WriteToUDPAddrPort(p, b.peer) }
