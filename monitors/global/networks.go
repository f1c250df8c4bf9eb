package global

import (
	"context"
	"maps"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"splitvm/remote/api"
)

// gatherTime is for changes that come together to be told together.
const gatherTime = 10 * time.Millisecond

// networks is who is on which network, as hosts are told. Guarded by leader.mu, but
// for the watchers' channels.
type networks struct {
	more  chan struct{}                 // closed when the rest is out of date
	ports map[string][]*api.NetworkPort // by network, in the order of vIDs; nil: to be collected
	on    map[uint64][]string           // networks of each processor, in order
}

func (n *networks) changed() {
	if n.more != nil {
		close(n.more)
	}
	*n = networks{more: make(chan struct{})}
}

// collect goes through the vNodes once after each change. The caller holds mu.
func (l *leader) collectNetworks() {
	n := &l.networks
	if n.ports != nil {
		return
	}
	n.ports, n.on = map[string][]*api.NetworkPort{}, map[uint64][]string{}
	on := map[uint64]map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(l.vnodes)) {
		v := l.vnodes[id]
		if !active(v) {
			continue
		}
		name := v.Spec.Network
		n.ports[name] = append(n.ports[name], &api.NetworkPort{Vnode: id, Name: v.Spec.Name, Network: name, Vip: v.Vip, Processor: v.Processor})
		if on[v.Processor] == nil {
			on[v.Processor] = map[string]bool{}
		}
		on[v.Processor][name] = true
	}
	for p, names := range on {
		n.on[p] = slices.Sorted(maps.Keys(names))
	}
}

// networkTable is what a host is to know, and what is closed when that may have
// changed.
func (l *leader) networkTable(processor uint64) (*api.NetworkTable, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.members[processor]; m == nil || m.Role != api.Role_ROLE_PROCESSOR {
		return nil, nil, status.Errorf(codes.NotFound, "no processor monitor %d", processor)
	}
	l.collectNetworks()
	t := &api.NetworkTable{Rack: l.rack, Processor: processor}
	hosts := map[uint64]bool{}
	for _, name := range l.networks.on[processor] {
		t.Ports = append(t.Ports, l.networks.ports[name]...)
	}
	for _, p := range t.Ports {
		hosts[p.Processor] = true
	}
	for _, id := range slices.Sorted(maps.Keys(hosts)) {
		if m := l.members[id]; m != nil {
			t.Hosts = append(t.Hosts, &api.NetworkHost{Processor: id, Mesh: m.Mesh})
		}
	}
	return t, l.networks.more, nil
}

// meetMesh notes where a host takes frames.
func (l *leader) meetMesh(in *api.WatchNetworksRequest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[in.Processor]
	if m == nil || m.Mesh == in.Mesh {
		return nil
	}
	m.Mesh = in.Mesh
	var c change
	c.networks = true
	c.put(idKey(keyMember, m.Id), m.Member, clientv3.WithLease(m.lease))
	return l.commit(&c)
}

// watchNetworks implements api.NetworksServer.
func (l *leader) watchNetworks(ctx context.Context, in *api.WatchNetworksRequest, send func(*api.NetworkTable) error) error {
	if err := l.meetMesh(in); err != nil {
		return err
	}
	var last *api.NetworkTable
	for {
		t, more, err := l.networkTable(in.Processor)
		if err != nil {
			return err
		}
		if last == nil || !proto.Equal(t, last) {
			if err := send(t); err != nil {
				return err
			}
			last = t
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.ctx.Done():
			return notLeading(context.Cause(l.ctx))
		}
		time.Sleep(gatherTime)
	}
}
