package memory

import (
	"context"
	"errors"
	"net"

	"splitvm/remote"
	"splitvm/remote/api"
	"splitvm/remote/rack"
)

// Rack says of which rack the monitor is to be a member, and as what.
type Rack struct {
	Global []string // the global monitors; none: no rack
	Name   string
	Domain string // failure domain
}

// join makes the monitor a member until ctx ends.
func (m *monitor) join(ctx context.Context, listeners []net.Listener) error {
	if len(m.cfg.Rack.Global) == 0 {
		return nil
	}
	self := &api.Member{Role: api.Role_ROLE_MEMORY, Name: m.cfg.Rack.Name, Domain: m.cfg.Rack.Domain, Instance: uint64(m.server.Instance()),
		Capacity: &api.Resources{MemoryBytes: m.cfg.Store.Mem}}
	for _, l := range listeners {
		self.Data = append(self.Data, address(l.Addr()))
	}
	member := &rack.Member{Global: m.cfg.Rack.Global, Self: self, Report: m.report, Forget: m.forget, Log: m.cfg.Log}
	return member.Keep(ctx)
}

// address is in the form of transport.ParseAddress.
func address(a net.Addr) string {
	switch a.Network() {
	case "unix", "shm":
		return a.Network() + ":" + a.String()
	}
	return a.String()
}

// report is what the rack is told with each heartbeat.
func (m *monitor) report() (*api.Resources, []remote.VRegionID) {
	held := m.store.IDs()
	return &api.Resources{MemoryBytes: uint64(m.store.Held()) * remote.LineSize, Vregions: uint64(len(held))}, held
}

// forget deletes vRegions that belong to no vNode any more.
func (m *monitor) forget(ids []remote.VRegionID) {
	ctx := context.Background() // the store is in this process
	for _, id := range ids {
		s, err := m.store.Stat(ctx, id)
		if err == nil {
			err = m.store.Delete(ctx, remote.Owned{VRegion: id, Epoch: s.Epoch})
		}
		if err != nil && !errors.Is(err, remote.NoVRegion) {
			m.cfg.Log.Error("forget a vRegion", "vRegion", id.String(), "err", err)
			continue
		}
		m.cfg.Log.Info("forgot a vRegion", "vRegion", id.String())
	}
}
