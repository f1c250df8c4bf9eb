package mesh

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"splitvm/monitors/network/mesh/wire"
	"splitvm/remote/network"
)

// Names is where a network's name server looks vNodes up.
type Names interface {
	Set(name string, a netip.Addr)
	Remove(name string, a netip.Addr)
}

// Stats are counts of frames since the mesh was made, and of connections made to
// other hosts. Dropped ones found no room or no connection; refused ones came from
// another host that had no business to send them.
type Stats struct {
	Sent, Dropped, Received, Refused, Connects uint64
}

// Mesh joins the networks of this host with those of others.
type Mesh struct {
	log      *slog.Logger
	listener net.Listener

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	ended  sync.WaitGroup

	directory                atomic.Pointer[directory]
	links                    atomic.Pointer[map[uint64]*link]    // by host; replaced under mu
	networks                 atomic.Pointer[map[string]attached] // of this host; replaced under mu
	received, refused        atomic.Uint64
	pastSent, pastDrop, past atomic.Uint64 // of links that are closed

	mu     sync.Mutex
	table  Table // guarded by mu
	closed bool  // guarded by mu
}

// attached is a network of this host.
type attached struct {
	sw    *network.Switch
	names Names
}

// New makes a mesh without networks that takes frames at a listener, which is its own
// from here on.
func New(l net.Listener, log *slog.Logger) *Mesh {
	m := &Mesh{log: log, listener: l}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.directory.Store(newDirectory(Table{}))
	m.links.Store(&map[uint64]*link{})
	m.networks.Store(&map[string]attached{})
	m.ended.Go(func() { m.accept(l) })
	return m
}

// Addr is where frames are taken.
func (m *Mesh) Addr() net.Addr { return m.listener.Addr() }

// Add joins a network of this host with those of the same name on others.
func (m *Mesh) Add(name string, sw *network.Switch, names Names) {
	m.mu.Lock()
	defer m.mu.Unlock()
	networks := maps.Clone(*m.networks.Load())
	networks[name] = attached{sw, names}
	m.networks.Store(&networks)
	for _, p := range m.table.Ports {
		if p.Network == name {
			names.Set(p.Name, p.Addr)
		}
	}
	sw.SetUplink(&uplink{m, name})
}

// Apply makes a table that of the mesh.
func (m *Mesh) Apply(t Table) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.rename(t)
	m.connect(t)
	m.table = t
	m.directory.Store(newDirectory(t))
}

// rename tells the name servers what is new and what is not so any more.
func (m *Mesh) rename(t Table) {
	networks := *m.networks.Load()
	now := map[Port]bool{}
	for _, p := range t.Ports {
		now[p] = true
	}
	for _, p := range m.table.Ports {
		if n, ok := networks[p.Network]; ok && !now[p] {
			n.names.Remove(p.Name, p.Addr)
		}
	}
	for p := range now {
		if n, ok := networks[p.Network]; ok {
			n.names.Set(p.Name, p.Addr)
		}
	}
}

// connect has a link to each host that the table names, where it says.
func (m *Mesh) connect(t Table) {
	old := *m.links.Load()
	links := map[uint64]*link{}
	h := wire.Hello{Rack: t.Rack, Host: t.Self}
	for host, to := range t.Hosts {
		switch l := old[host]; {
		case host == t.Self || to == "":
		case l != nil && l.to == to && l.hello == h:
			links[host] = l
		default:
			links[host] = newLink(to, h, m.log)
		}
	}
	m.links.Store(&links)
	for host, l := range old {
		if links[host] != l {
			m.end(l)
		}
	}
}

func (m *Mesh) end(l *link) {
	l.close()
	m.pastSent.Add(l.sent.Load())
	m.pastDrop.Add(l.dropped.Load())
	m.past.Add(l.connects.Load())
}

// Stats returns the counts so far.
func (m *Mesh) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{Received: m.received.Load(), Refused: m.refused.Load(), Sent: m.pastSent.Load(), Dropped: m.pastDrop.Load(), Connects: m.past.Load()}
	for _, l := range *m.links.Load() {
		s.Sent += l.sent.Load()
		s.Dropped += l.dropped.Load()
		s.Connects += l.connects.Load()
	}
	return s
}

// Close ends all connections and waits for what uses them.
func (m *Mesh) Close() error {
	m.cancel()
	err := m.listener.Close()
	m.mu.Lock()
	m.closed = true
	links := *m.links.Load()
	m.links.Store(&map[uint64]*link{})
	for _, l := range links {
		m.end(l)
	}
	m.mu.Unlock()
	m.ended.Wait()
	return err
}

// uplink is the way from one network's switch to other hosts.
type uplink struct {
	mesh *Mesh
	name string
}

var _ network.Uplink = (*uplink)(nil)

// Carry implements network.Uplink. What is not from a vNode, as a gateway's frames are
// not, stays on this host.
func (u *uplink) Carry(frame []byte, from, to network.MAC) {
	d := u.mesh.directory.Load()
	p := d.local(u.name, from)
	if p == nil {
		return
	}
	links := *u.mesh.links.Load()
	for _, host := range d.hosts(u.name, to) {
		if l := links[host]; l != nil {
			l.send(p.VNode, frame)
		}
	}
}
