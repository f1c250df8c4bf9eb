package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"splitvm/monitors/network/gateway"
	"splitvm/monitors/network/names"
	"splitvm/remote/network"
	"splitvm/remote/network/attach"
	"splitvm/vmm/usernet"
	virtionet "splitvm/vmm/virtio/net"
)

// userNet is the --net of a network in user space.
const userNet = "user"

// defaultUserAddr is a guest's on a user network; the gateway has the first
// address of it.
var defaultUserAddr = netip.MustParsePrefix("10.0.2.2/24")

// parseUserNet reads user[,ip=ADDR/LEN][,host-loopback] and
// user,network=NAME[,addr=ADDR][,socket=PATH], of which the network gives the
// address, the one that is wanted if one is.
func parseUserNet(s, rest string) (netOption, error) {
	n := netOption{socket: networkSocket()}
	for word := range fields(rest) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch {
		case key == "ip":
			n.addr, err = netip.ParsePrefix(value)
		case word == "host-loopback":
			n.loopback = true
		case key == "addr":
			n.wanted, err = netip.ParseAddr(value)
		case key == "network" && value != "":
			n.network = value
		case key == "socket" && value != "":
			n.socket = value
		default:
			err = fmt.Errorf("can't read %q; give ip=, host-loopback, network=, addr= or socket=", word)
		}
		if err != nil {
			return n, fmt.Errorf("net %q: %w", s, err)
		}
	}
	if n.network != "" {
		if n.addr.IsValid() || n.loopback {
			return n, fmt.Errorf("net %q: the network gives the address, and has no way to the host's loopback", s)
		}
		return n, nil
	}
	if n.wanted.IsValid() {
		return n, fmt.Errorf("net %q: addr= is for a named network: give ip=ADDR/LEN", s)
	}
	if !n.addr.IsValid() {
		n.addr = defaultUserAddr
	}
	n.gateway = n.addr.Masked().Addr().Next()
	if !n.addr.Addr().Is4() || n.addr.Bits() > 30 || n.addr.Addr() == n.gateway || n.addr.Addr() == n.addr.Masked().Addr() {
		return n, fmt.Errorf("net %q: give an IPv4 address with a length of up to 30; the network's first, %v, is the gateway's", s, n.gateway)
	}
	n.mac = virtionet.MAC(network.MACOf(n.addr.Addr()))
	return n, nil
}

// publishOption is one --publish.
type publishOption struct {
	protocol string
	host     netip.AddrPort
	guest    uint16
}

// parsePublish reads [ADDR:]HOST:GUEST[/tcp|/udp]. Without an address the port
// is open on all of the host's.
func parsePublish(s string) (publishOption, error) {
	p := publishOption{protocol: "tcp"}
	ports, protocol, named := strings.Cut(s, "/")
	if named {
		p.protocol = protocol
	}
	i := strings.LastIndexByte(ports, ':')
	if i < 0 || p.protocol != "tcp" && p.protocol != "udp" {
		return p, fmt.Errorf("publish %q: give [ADDR:]HOST:GUEST, and /udp if it is not for TCP", s)
	}
	host := ports[:i]
	if !strings.Contains(host, ":") {
		host = "0.0.0.0:" + host
	}
	guest, err := strconv.ParseUint(ports[i+1:], 10, 16)
	if err == nil {
		p.host, err = netip.ParseAddrPort(host)
	}
	if err != nil || guest == 0 {
		return p, fmt.Errorf("publish %q: ports are numbers from 1 to 65535 (the host's may be 0 for any that is free), and ADDR is an IP address", s)
	}
	p.guest = uint16(guest)
	return p, nil
}

// checkNets checks the user network and what is published on it.
func (o *options) checkNets() error {
	count := 0
	for _, n := range o.nets {
		if n.tap != "" {
			continue
		}
		if count++; o.onRack && (n.addr != defaultUserAddr && n.network == "" || n.loopback || n.wanted.IsValid() || n.socket != networkSocket()) {
			return errors.New("on a rack a vNode is on a network of the rack's, with an address of the rack's: give --net user,network=NAME, or nothing for the default one")
		}
	}
	switch {
	case o.onRack && o.rack.bare != "" && count+len(o.published) > 0:
		return errors.New("a bare program has no network device: leave --net and --publish out")
	case o.onRack && count <= 1: // on a network in any case
	case count > 1:
		return errors.New("a vNode has one user network: give one --net user")
	case count == 0 && len(o.published) > 0:
		return errors.New("--publish is for a user network: give --net user too")
	}
	return nil
}

// openUserNet plugs the vNode into a network in user space.
func (n *vnode) openUserNet(ctx context.Context, o *netOption) (virtionet.Backend, int, error) {
	if o.network != "" {
		return n.joinNetwork(ctx, o)
	}
	return n.ownNetwork(o)
}

// joinNetwork plugs the vNode into a network of the host's, which says what its
// address is.
func (n *vnode) joinNetwork(ctx context.Context, o *netOption) (virtionet.Backend, int, error) {
	cable, socket, err := usernet.Pair()
	if err != nil {
		return nil, 0, err
	}
	n.onClose(cable.Close)
	req := attach.Request{Network: o.network, Name: n.o.name, Addr: o.wanted}
	for _, p := range n.o.published {
		req.Publish = append(req.Publish, attach.Publish{Protocol: p.protocol, Host: p.host, Guest: p.guest})
	}
	wait := time.Duration(0)
	if n.o.rack.placer != "" {
		wait = rackNetTime
	}
	place, err := attach.Join(ctx, o.socket, req, socket, wait, n.log)
	if err != nil {
		return nil, 0, err
	}
	n.onClose(place.Close)
	cable.OnAccept(place.Accept)
	for i, p := range place.Published {
		if n.o.published[i].host.Port() == 0 {
			n.log.Warn("published", "host", p.Host, "guest", p.Guest, "protocol", p.Protocol)
		}
	}
	o.addr, o.gateway, o.mac = place.Addr, place.Gateway, virtionet.MAC(network.MACOf(place.Addr.Addr()))
	return cable, place.MTU, nil
}

// rackNetTime is what a rack's networks have to be there, which the processor monitor
// may be starting just now.
const rackNetTime = 20 * time.Second

// ownNetwork makes a network of the vNode's own in this process.
func (n *vnode) ownNetwork(o *netOption) (virtionet.Backend, int, error) {
	sw, table := network.NewSwitch(), &names.Table{}
	table.Set(n.o.name, o.addr.Addr())
	g, err := gateway.New(sw, gateway.Config{Subnet: o.addr.Masked(), Addr: o.gateway, HostLoopback: o.loopback, Names: table, Log: n.log})
	if err != nil {
		return nil, 0, err
	}
	n.onClose(g.Close)
	cable, socket, err := usernet.Pair()
	if err != nil {
		return nil, 0, err
	}
	n.onClose(cable.Close)
	port, err := sw.Attach(network.PortConfig{Addr: o.addr.Addr(), Log: n.log}, socket)
	if err != nil {
		return nil, 0, err
	}
	n.onClose(port.Close)
	cable.OnAccept(func(o network.Offload) error { port.Accept(o); return nil })
	return cable, g.MTU(), n.publish(g, o.addr.Addr())
}

// publish leads the host's ports to the guest.
func (n *vnode) publish(g *gateway.Gateway, guest netip.Addr) error {
	for _, p := range n.o.published {
		pub, err := g.Publish(gateway.Publication{Protocol: p.protocol, Host: p.host, Guest: netip.AddrPortFrom(guest, p.guest)})
		if err != nil {
			return err
		}
		n.onClose(pub.Close)
		if p.host.Port() == 0 {
			n.log.Warn("published", "host", pub.Host, "guest", pub.Guest, "protocol", pub.Protocol)
		}
	}
	return nil
}
