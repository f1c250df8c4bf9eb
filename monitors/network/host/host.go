// Package host is the virtual networks of one host as a service for the
// processes of its vNodes: each named network with its switch and gateway, its
// addresses and its names.
//
// A network is made when the first vNode joins it, with the next /24 of the
// host's range, and is kept for as long as the service runs, so that vNodes
// which come back find the same. On a rack each is the whole range instead, as
// it is on every other host. Networks reach the outside, and never each
// other: the whole range is out of a gateway's reach.
//
// Lock: Networks.mu, for leases and the list; a port or a gateway is never
// waited for with it held, but Config.Made is called.
package host

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"splitvm/monitors/network/gateway"
	"splitvm/monitors/network/names"
	"splitvm/remote/network"
	"splitvm/remote/network/attach"
)

// netBits is the size of a network of one host: 253 vNodes, the gateway and the two that
// are special.
const netBits = 24

// DefaultRange is where networks get their addresses from.
var DefaultRange = netip.MustParsePrefix("10.88.0.0/16")

// Config is how a host's networks get their addresses.
type Config struct {
	Range netip.Prefix
	// Rack makes every network the whole range, as it is on the other hosts of
	// a rack: vNodes bring the addresses that the rack gave them, and names are the
	// rack's to keep apart.
	Rack bool
	// Made is told of each network that is made, with its switch and names. May be nil.
	Made func(name string, sw *network.Switch, names *names.Table)
	Log  *slog.Logger // nil: slog.Default()
}

// Networks are those of a host.
type Networks struct {
	within netip.Prefix
	bits   int // length of each network
	rack   bool
	made   func(string, *network.Switch, *names.Table)
	log    *slog.Logger

	mu     sync.Mutex
	list   map[string]*one            // guarded by mu
	plugs  map[*net.UnixConn]struct{} // guarded by mu
	closed bool                       // guarded by mu
	serves sync.WaitGroup             // one for each of plugs
}

// one is a network.
type one struct {
	sw    *network.Switch
	gw    *gateway.Gateway
	names *names.Table
	used  map[netip.Addr]string        // by which vNode; guarded by Networks.mu
	ports map[netip.Addr]*network.Port // of those that are plugged in; guarded by Networks.mu
}

// New makes a service without networks.
func New(cfg Config) (*Networks, error) {
	h := &Networks{within: cfg.Range.Masked(), bits: netBits, rack: cfg.Rack, made: cfg.Made, log: cfg.Log, list: map[string]*one{}, plugs: map[*net.UnixConn]struct{}{}}
	if !cfg.Range.Addr().Is4() || cfg.Range.Bits() > netBits {
		return nil, fmt.Errorf("networks: %v is not an IPv4 range of at least a /%d", cfg.Range, netBits)
	}
	if h.rack {
		h.bits = h.within.Bits()
	}
	if h.log == nil {
		h.log = slog.Default()
	}
	return h, nil
}

// Serve lets vNodes join until the listener is closed, and waits for them to
// leave.
func (h *Networks) Serve(l *net.UnixListener) error {
	defer h.serves.Wait()
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("networks: %w", err)
		}
		if !h.enter(c) {
			c.Close()
			continue
		}
		go func() {
			defer h.leave(c)
			if err := h.serve(c); err != nil {
				h.log.Warn("network: vNode turned away", "err", err)
				refuse(c, err)
			}
		}()
	}
}

func (h *Networks) enter(c *net.UnixConn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.plugs[c] = struct{}{}
	h.serves.Add(1)
	return true
}

// Plugged is the number of vNodes on all networks.
func (h *Networks) Plugged() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.plugs)
}

func (h *Networks) leave(c *net.UnixConn) {
	h.mu.Lock()
	delete(h.plugs, c)
	h.mu.Unlock()
	c.Close()
	h.serves.Done()
}

// Close takes all vNodes off and ends the networks.
func (h *Networks) Close() error {
	h.mu.Lock()
	h.closed = true
	for c := range h.plugs {
		c.Close()
	}
	list := h.list
	h.list = map[string]*one{}
	h.mu.Unlock()
	h.serves.Wait()
	for _, n := range list {
		n.gw.Close()
	}
	return nil
}

func refuse(c *net.UnixConn, err error) {
	line, _ := json.Marshal(attach.Lease{Error: err.Error()}) // strings always can be
	c.Write(append(line, '\n'))
}

// serve has a vNode on its network until it leaves. An error is why it could
// not join.
func (h *Networks) serve(c *net.UnixConn) error {
	req, socket, err := attach.Receive(c)
	if err != nil {
		return err
	}
	n, addr, err := h.lease(req)
	if err != nil {
		socket.Close()
		return err
	}
	defer h.release(n, addr)
	port, err := n.sw.Attach(network.PortConfig{Addr: addr, Log: h.log}, socket)
	if err != nil {
		return err
	}
	defer port.Close()
	h.note(n, port)
	n.names.Set(req.Name, addr)
	if !h.rack { // a rack's table says when: it may run on another host by now
		defer n.names.Remove(req.Name, addr)
	}
	lease := attach.Lease{Addr: netip.PrefixFrom(addr, h.bits), Gateway: n.gw.Addr(), MTU: n.gw.MTU()}
	for _, p := range req.Publish {
		pub, err := n.gw.Publish(gateway.Publication{Protocol: p.Protocol, Host: p.Host, Guest: netip.AddrPortFrom(addr, p.Guest)})
		if err != nil {
			return err
		}
		defer pub.Close()
		lease.Published = append(lease.Published, attach.Publish{Protocol: p.Protocol, Host: pub.Host, Guest: p.Guest})
	}
	line, err := json.Marshal(lease)
	if err != nil {
		return err
	}
	if _, err := c.Write(append(line, '\n')); err != nil {
		return nil // it has gone already
	}
	h.log.Info("network: vNode joined", "network", req.Network, "vnode", req.Name, "addr", addr)
	hear(c, port)
	return nil
}

// hear takes updates until the vNode leaves.
func hear(c *net.UnixConn, port *network.Port) {
	scan := bufio.NewScanner(c)
	scan.Buffer(nil, attach.MaxLine)
	for scan.Scan() {
		var u attach.Update
		if json.Unmarshal(scan.Bytes(), &u) != nil {
			return
		}
		port.Accept(u.Accept)
	}
}
