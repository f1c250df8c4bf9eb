package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"splitvm/monitors/network/netstack"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	dialTime    = 20 * time.Second // to connect outside, or to a guest
	maxSYNs     = 1024             // connections that are being opened for guests
	copyBufSize = 256 << 10
)

// forwardTCP opens a connection outside for each that a guest opens to any
// address but the gateway's own services.
func (g *Gateway) forwardTCP() {
	f := tcp.NewForwarder(g.stack, 0, maxSYNs, func(r *tcp.ForwarderRequest) {
		if !g.begin() {
			r.Complete(true)
			return
		}
		defer g.flows.Done()
		g.openTCP(r)
	})
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, f.HandlePacket)
}

// begin counts a flow in, unless the gateway is closing.
func (g *Gateway) begin() bool {
	g.closing.Lock()
	defer g.closing.Unlock()
	if g.ctx.Err() != nil {
		return false
	}
	g.flows.Add(1)
	return true
}

// openTCP answers the guest as the outside answers: it is connected when we
// are, and refused when we are.
func (g *Gateway) openTCP(r *tcp.ForwarderRequest) {
	id := r.ID()
	to, ok := g.reachable(netstack.AddrOf(id.LocalAddress))
	if !ok {
		r.Complete(true)
		return
	}
	out, err := g.dialer.DialContext(g.ctx, "tcp4", netip.AddrPortFrom(to, id.LocalPort).String())
	if err != nil {
		g.log.Debug("network: a guest's connection failed", "to", to, "port", id.LocalPort, "err", err)
		r.Complete(true)
		return
	}
	var queue waiter.Queue
	ep, terr := r.CreateEndpoint(&queue)
	if terr != nil {
		out.Close()
		r.Complete(true)
		return
	}
	r.Complete(false)
	g.join(gonet.NewTCPConn(&queue, ep), out.(*net.TCPConn))
}

// dialGuest opens a connection to a guest, from the gateway.
func (g *Gateway) dialGuest(ctx context.Context, to netip.AddrPort) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, g.stack, tcpip.FullAddress{NIC: nic, Addr: netstack.AddressOf(to.Addr()), Port: to.Port()}, ipv4.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("connect to guest %v: %w", to, err)
	}
	return c, nil
}

// halfConn is a connection whose directions end one by one.
type halfConn interface {
	net.Conn
	CloseWrite() error
	CloseRead() error
}

// join carries data both ways until both have ended, or the gateway closes.
func (g *Gateway) join(a, b halfConn) {
	stop := context.AfterFunc(g.ctx, func() { a.Close(); b.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		carry(a, b)
	}()
	carry(b, a)
	<-done
	a.Close()
	b.Close()
}

// carry copies until from ends. An error of one direction ends the other: it
// means that one side is gone.
func carry(to, from halfConn) {
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, copyBufSize))
	if err != nil && !errors.Is(err, io.EOF) {
		to.Close()
		from.Close()
		return
	}
	to.CloseWrite()
	from.CloseRead()
}
