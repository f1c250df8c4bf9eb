package host

import (
	"cmp"
	"net/netip"
	"slices"

	"splitvm/remote/network"
)

// PortStats are what went through a vNode's port since it joined.
type PortStats struct {
	Network, VNode string
	Addr           netip.Addr
	network.PortStats
}

// Ports lists those of all networks, by network and address.
func (h *Networks) Ports() []PortStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []PortStats
	for name, n := range h.list {
		for a, p := range n.ports {
			list = append(list, PortStats{Network: name, VNode: n.used[a], Addr: a, PortStats: p.Stats()})
		}
	}
	slices.SortFunc(list, func(a, b PortStats) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), a.Addr.Compare(b.Addr))
	})
	return list
}
