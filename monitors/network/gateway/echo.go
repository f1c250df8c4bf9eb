package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"splitvm/monitors/network/netstack"
	"splitvm/remote/network"
)

const (
	echoTime = 5 * time.Second // for an echo to come back
	maxEchos = 64              // echoes of a network under way at a time
)

// takeEcho sends a guest's ping to an address outside on, if frame is one: the
// stack would answer for every address itself. frame is from the Ethernet
// header on.
func (g *Gateway) takeEcho(frame []byte) bool {
	ip := header.IPv4(frame[header.EthernetMinimumSize:])
	if ip.TransportProtocol() != header.ICMPv4ProtocolNumber || netstack.AddrOf(ip.DestinationAddress()) == g.cfg.Addr {
		return false
	}
	to, ok := g.reachable(netstack.AddrOf(ip.DestinationAddress()))
	whole := int(ip.HeaderLength()) == header.IPv4MinimumSize && int(ip.TotalLength()) == len(ip) && ip.FragmentOffset() == 0 && !ip.More()
	if !ok || !whole || len(ip) < header.IPv4MinimumSize+header.ICMPv4MinimumSize || header.ICMPv4(ip.Payload()).Type() != header.ICMPv4Echo {
		return true // lost
	}
	if g.echoes.Add(1) > maxEchos || !g.begin() {
		g.echoes.Add(-1)
		return true
	}
	ask := append([]byte(nil), frame...)
	go func() {
		defer g.flows.Done()
		defer g.echoes.Add(-1)
		if err := g.echo(ask, to); err != nil {
			g.log.Debug("network: ping", "to", to, "err", err)
		}
	}()
	return true
}

// echo sends the ping of frame and answers the guest in its peer's name.
func (g *Gateway) echo(frame []byte, to netip.Addr) error {
	ip := header.IPv4(frame[header.EthernetMinimumSize:])
	msg := header.ICMPv4(ip.Payload())
	if err := g.ping(to, int(msg.Sequence()), msg.Payload()); err != nil {
		return err
	}
	answer := make([]byte, network.HeaderSize, network.HeaderSize+len(frame))
	answer = append(answer, frame...)
	e := header.Ethernet(answer[network.HeaderSize:])
	e.Encode(&header.EthernetFields{SrcAddr: g.link.LinkAddress(), DstAddr: header.Ethernet(frame).SourceAddress(), Type: header.IPv4ProtocolNumber})
	ip = header.IPv4(e[header.EthernetMinimumSize:])
	src, dst := ip.SourceAddress(), ip.DestinationAddress()
	ip.SetSourceAddress(dst)
	ip.SetDestinationAddress(src)
	ip.SetTTL(64)
	ip.SetChecksum(0)
	ip.SetChecksum(^ip.CalculateChecksum())
	msg = header.ICMPv4(ip.Payload())
	msg.SetType(header.ICMPv4EchoReply)
	msg.SetChecksum(0)
	msg.SetChecksum(^checksum.Checksum(msg, 0))
	g.sw.Send(answer)
	return nil
}

var errNoEcho = errors.New("no answer")

// ping sends an echo request and waits for its answer. Linux lets the groups of
// net.ipv4.ping_group_range do that; root has raw sockets.
func (g *Gateway) ping(to netip.Addr, seq int, data []byte) error {
	var peer net.Addr = &net.UDPAddr{IP: to.AsSlice()}
	c, err := icmp.ListenPacket("udp4", "0.0.0.0")
	if err != nil {
		peer = &net.IPAddr{IP: to.AsSlice()}
		c, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	}
	if err != nil {
		return fmt.Errorf("%w (let it with sysctl net.ipv4.ping_group_range)", err)
	}
	defer c.Close()
	stop := context.AfterFunc(g.ctx, func() { c.Close() })
	defer stop()
	id := rand.IntN(1 << 16) // a datagram socket's is the kernel's in its place
	ask, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq, Data: data}}).Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := c.WriteTo(ask, peer); err != nil {
		return err
	}
	return awaitEcho(c, to, seq, data)
}

// awaitEcho waits for an answer with what was sent. The data is compared for
// raw sockets, which hear everybody's.
func awaitEcho(c *icmp.PacketConn, from netip.Addr, seq int, data []byte) error {
	c.SetReadDeadline(time.Now().Add(echoTime))
	buf := make([]byte, datagram)
	for {
		n, peer, err := c.ReadFrom(buf)
		if err != nil {
			return errors.Join(errNoEcho, err)
		}
		if !isFrom(peer, from) || n < 8 || ipv4.ICMPType(buf[0]) != ipv4.ICMPTypeEchoReply {
			continue
		}
		if int(binary.BigEndian.Uint16(buf[6:])) == seq && string(buf[8:n]) == string(data) {
			return nil
		}
	}
}

func isFrom(peer net.Addr, want netip.Addr) bool {
	switch p := peer.(type) {
	case *net.UDPAddr:
		return p.AddrPort().Addr().Unmap() == want
	case *net.IPAddr:
		a, ok := netip.AddrFromSlice(p.IP)
		return ok && a.Unmap() == want
	}
	return false
}
