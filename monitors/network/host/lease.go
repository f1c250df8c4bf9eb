package host

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"splitvm/monitors/network/gateway"
	"splitvm/monitors/network/names"
	"splitvm/remote/network"
	"splitvm/remote/network/attach"
)

// nameOK keeps names fit for DNS, without dots: a label (RFC 1123).
var nameOK = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$`).MatchString

// lease finds or makes the network, and an address in it.
func (h *Networks) lease(req attach.Request) (*one, netip.Addr, error) {
	if h.rack && !req.Addr.IsValid() {
		return nil, netip.Addr{}, fmt.Errorf("network %q, vNode %q: the rack gave it no address", req.Network, req.Name)
	}
	if !h.rack && !(nameOK(req.Network) && nameOK(req.Name)) {
		return nil, netip.Addr{}, fmt.Errorf("network %q, vNode %q: names have up to 63 letters, digits, '-' and '_'", req.Network, req.Name)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n, err := h.network(req.Network)
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("network %s: %w", req.Network, err)
	}
	if !h.rack && slices.ContainsFunc(slices.Collect(maps.Values(n.used)), func(s string) bool { return strings.EqualFold(s, req.Name) }) {
		return nil, netip.Addr{}, fmt.Errorf("network %s: a vNode named %s is on it", req.Network, req.Name)
	}
	addr, err := n.free(req.Addr)
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("network %s: %w", req.Network, err)
	}
	n.used[addr] = req.Name
	return n, addr, nil
}

func (h *Networks) release(n *one, a netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(n.used, a)
	delete(n.ports, a)
}

// note keeps a port until its address is released.
func (h *Networks) note(n *one, p *network.Port) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n.ports[p.Addr()] = p
}

// network needs mu.
func (h *Networks) network(name string) (*one, error) {
	if n := h.list[name]; n != nil {
		return n, nil
	}
	if h.closed {
		return nil, errors.New("the host's networks are being closed")
	}
	subnet, err := h.nextSubnet()
	if err != nil {
		return nil, err
	}
	n := &one{sw: network.NewSwitch(), names: &names.Table{}, used: map[netip.Addr]string{}, ports: map[netip.Addr]*network.Port{}}
	n.gw, err = gateway.New(n.sw, gateway.Config{
		Subnet: subnet, Addr: subnet.Addr().Next(), Names: n.names, Log: h.log,
		Reachable: func(a netip.Addr) bool { return !h.within.Contains(a) },
	})
	if err != nil {
		return nil, err
	}
	if h.made != nil {
		h.made(name, n.sw, n.names)
	}
	h.list[name] = n
	return n, nil
}

// nextSubnet needs mu. Networks are never given up, so that their number is the
// next one's.
func (h *Networks) nextSubnet() (netip.Prefix, error) {
	if h.rack {
		return h.within, nil
	}
	a := h.within.Addr().As4()
	i := len(h.list)
	if i >= 1<<(netBits-h.within.Bits()) {
		return netip.Prefix{}, fmt.Errorf("%v has room for %d networks", h.within, i)
	}
	base := uint32(a[0])<<16 | uint32(a[1])<<8 | uint32(a[2])
	base += uint32(i)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(base >> 16), byte(base >> 8), byte(base), 0}), netBits), nil
}

// free finds an address: the one that is wanted, or the first.
func (n *one) free(want netip.Addr) (netip.Addr, error) {
	subnet, gw := n.gw.Subnet(), n.gw.Addr()
	if want.IsValid() {
		if !subnet.Contains(want) || want == gw || want == subnet.Addr() || !subnet.Contains(want.Next()) || n.used[want] != "" {
			return want, fmt.Errorf("address %v is taken, or not one of %v", want, subnet)
		}
		return want, nil
	}
	for a := gw.Next(); subnet.Contains(a.Next()); a = a.Next() {
		if n.used[a] == "" {
			return a, nil
		}
	}
	return want, fmt.Errorf("all addresses of %v are taken", subnet)
}
