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
	member := &rack.Member{Global: m.cfg.Rack.Global, Self: self, Report: m.report, Forget: m.forget, State: m.state, Log: m.cfg.Log}
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
func (m *monitor) report() (*api.Resources, []remote.VRegionStat) {
	held := m.store.Owned()
	return &api.Resources{MemoryBytes: uint64(m.store.Held()) * remote.LineSize, Vregions: uint64(len(held))}, held
}

// forget deletes vRegions that this monitor does not own any more. One that has a
// newer epoch by now has come back.
func (m *monitor) forget(list []remote.Owned) {
	for _, at := range list {
		err := m.store.Delete(context.Background(), at) // the store is in this process
		switch {
		case err == nil:
			m.cfg.Log.Info("forgot a vRegion", "vRegion", at.String())
		case !errors.Is(err, remote.NoVRegion) && !errors.Is(err, remote.StaleEpoch):
			m.cfg.Log.Error("forget a vRegion", "vRegion", at.String(), "err", err)
		}
	}
}

// state tells the monitor's log what the rack has decided.
func (m *monitor) state(s api.MemberState) {
	switch s {
	case api.MemberState_MEMBER_STATE_DRAINING:
		m.cfg.Log.Info("draining: what is held here moves to other memory monitors", "lines_held", m.store.Held())
	case api.MemberState_MEMBER_STATE_DRAINED:
		m.cfg.Log.Info("drained: nothing is held here any more, and this monitor may be stopped")
	default:
		m.cfg.Log.Info("takes vRegions", "state", s.String())
	}
}
