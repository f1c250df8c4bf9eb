package mesh

import (
	"maps"
	"net/netip"

	"splitvm/remote/network"
)

// Table is what the rack says of the networks that a host has vNodes on.
type Table struct {
	Rack  uint64 // tag of the rack
	Self  uint64 // the host's member
	Ports []Port
	Hosts map[uint64]string // where each takes frames; not all may be known
}

// Port is a vNode on a network.
type Port struct {
	VNode   uint64
	Name    string
	Network string
	Addr    netip.Addr
	Host    uint64
}

// directory is a Table to look things up in. Immutable.
type directory struct {
	rack, self uint64
	byVNode    map[uint64]*Port
	networks   map[string]*members
}

// members are a network's vNodes.
type members struct {
	byMAC  map[network.MAC]*Port
	others []uint64 // hosts but this one
}

func newDirectory(t Table) *directory {
	d := &directory{rack: t.Rack, self: t.Self, byVNode: map[uint64]*Port{}, networks: map[string]*members{}}
	hosts := map[string]map[uint64]bool{}
	for i := range t.Ports {
		p := &t.Ports[i]
		if !p.Addr.Is4() {
			continue
		}
		n := d.networks[p.Network]
		if n == nil {
			n = &members{byMAC: map[network.MAC]*Port{}}
			d.networks[p.Network], hosts[p.Network] = n, map[uint64]bool{}
		}
		d.byVNode[p.VNode], n.byMAC[network.MACOf(p.Addr)] = p, p
		if p.Host != t.Self {
			hosts[p.Network][p.Host] = true
		}
	}
	for name, n := range d.networks {
		for h := range maps.Keys(hosts[name]) {
			n.others = append(n.others, h)
		}
	}
	return d
}

// local is the vNode of this host with an address on a network; nil if the table
// has none.
func (d *directory) local(name string, m network.MAC) *Port {
	n := d.networks[name]
	if n == nil {
		return nil
	}
	if p := n.byMAC[m]; p != nil && p.Host == d.self {
		return p
	}
	return nil
}

// hosts are those that a frame for an address goes to.
func (d *directory) hosts(name string, to network.MAC) []uint64 {
	n := d.networks[name]
	switch {
	case n == nil:
		return nil
	case to.Group():
		return n.others
	}
	if p := n.byMAC[to]; p != nil && p.Host != d.self {
		return []uint64{p.Host}
	}
	return nil
}
