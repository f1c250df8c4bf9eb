package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	gipv4 "gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"splitvm/monitors/network/names"
	"splitvm/monitors/network/netstack"
)

// Names answers queries for the names of the network itself.
type Names = names.Table

const (
	maxQueries  = 256  // queries of a network under way at a time
	maxQuery    = 4096 // bytes
	tcpDNSIdle  = 10 * time.Second
	upstreamTry = 3 * time.Second // for one name server to answer
)

// serveNames answers DNS queries at the gateway's address.
func (g *Gateway) serveNames() error {
	at := tcpip.FullAddress{NIC: nic, Addr: netstack.AddressOf(g.cfg.Addr), Port: dnsPort}
	udp, err := gonet.DialUDP(g.stack, &at, nil, gipv4.ProtocolNumber)
	if err != nil {
		return fmt.Errorf("name server: %w", err)
	}
	tcp, err := gonet.ListenTCP(g.stack, at, gipv4.ProtocolNumber)
	if err != nil {
		udp.Close()
		return fmt.Errorf("name server: %w", err)
	}
	context.AfterFunc(g.ctx, func() { udp.Close(); tcp.Close() })
	busy := make(chan struct{}, maxQueries)
	g.flows.Go(func() { g.serveUDPNames(udp, busy) })
	g.flows.Go(func() { g.serveTCPNames(tcp, busy) })
	return nil
}

func (g *Gateway) serveUDPNames(c *gonet.UDPConn, busy chan struct{}) {
	buf := make([]byte, maxQuery)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		query := append([]byte(nil), buf[:n]...)
		select {
		case busy <- struct{}{}:
		default:
			continue // the guest asks again
		}
		if !g.begin() {
			return
		}
		go func() {
			defer g.flows.Done()
			defer func() { <-busy }()
			if reply := g.resolve("udp", query); reply != nil {
				c.WriteTo(reply, from)
			}
		}()
	}
}

func (g *Gateway) serveTCPNames(l *gonet.TCPListener, busy chan struct{}) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case busy <- struct{}{}:
		default:
			c.Close()
			continue
		}
		if !g.begin() {
			c.Close()
			return
		}
		go func() {
			defer g.flows.Done()
			defer func() { <-busy }()
			g.serveTCPQueries(c)
		}()
	}
}

// serveTCPQueries answers one query after the other (RFC 7766 allows that).
func (g *Gateway) serveTCPQueries(c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(g.ctx, func() { c.Close() })
	defer stop()
	for {
		c.SetDeadline(time.Now().Add(tcpDNSIdle))
		query, err := readMessage(c)
		if err != nil {
			return
		}
		reply := g.resolve("tcp", query)
		if reply == nil || writeMessage(c, reply) != nil {
			return
		}
	}
}

// resolve answers a query from the table, or passes it on as it is. Nil is no
// answer: what came is no query.
func (g *Gateway) resolve(transport string, query []byte) []byte {
	reply, known := g.cfg.Names.Answer(query)
	if known {
		return reply
	}
	for _, server := range names.Upstream() {
		answer, err := g.ask(transport, server, query)
		if err == nil {
			return answer
		}
		g.log.Debug("network: name server", "server", server, "err", err)
	}
	return names.Failure(query)
}

// ask sends a query to a name server of the host's.
func (g *Gateway) ask(transport, server string, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(g.ctx, upstreamTry)
	defer cancel()
	c, err := g.dialer.DialContext(ctx, transport, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	if transport == "tcp" {
		if err := writeMessage(c, query); err != nil {
			return nil, err
		}
		return readMessage(c)
	}
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, datagram)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if n >= 2 && buf[0] == query[0] && buf[1] == query[1] {
			return buf[:n], nil
		}
	}
}

var errLongMessage = errors.New("DNS message too long")

// readMessage reads a message with its length before it, as over TCP.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	p := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, p)
	return p, err
}

func writeMessage(w io.Writer, p []byte) error {
	if len(p) > 1<<16-1 {
		return errLongMessage
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...))
	return err
}
