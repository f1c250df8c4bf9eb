package mesh

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/monitors/network/guesttest"
	"splitvm/monitors/network/host"
	"splitvm/monitors/network/names"
	"splitvm/remote/network"
	"splitvm/remote/network/attach"
)

const (
	patience = guesttest.Patience
	rackTag  = 7
)

// world is some hosts of a rack, and the table that they all have: on a real one each
// is told of its own networks only.
type world struct {
	t     testing.TB
	table Table
	sites []*site
}

// site is a host.
type site struct {
	id   uint64
	path string
	nets *host.Networks
	mesh *Mesh
}

func newWorld(t testing.TB, hosts int) *world {
	t.Helper()
	w := &world{t: t, table: Table{Rack: rackTag, Hosts: map[uint64]string{}}}
	for i := range hosts {
		w.sites = append(w.sites, w.site(uint64(i+1)))
	}
	w.apply()
	return w
}

func (w *world) site(id uint64) *site {
	t := w.t
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{id: id, path: filepath.Join(t.TempDir(), "n.sock"), mesh: New(front, log)}
	s.nets, err = host.New(host.Config{Range: host.DefaultRange, Rack: true, Log: log,
		Made: func(name string, sw *network.Switch, n *names.Table) { s.mesh.Add(name, sw, n) }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.nets.Serve(l) }()
	t.Cleanup(func() {
		l.Close()
		s.nets.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.mesh.Close(); err != nil {
			t.Error(err)
		}
	})
	w.table.Hosts[id] = s.mesh.Addr().String()
	return s
}

// apply tells all hosts the table.
func (w *world) apply() {
	for _, s := range w.sites {
		t := w.table
		t.Self = s.id
		t.Ports = append([]Port(nil), t.Ports...)
		s.mesh.Apply(t)
	}
}

// join puts a guest on a network of a host.
func (w *world) join(s *site, name, on string, publish ...attach.Publish) (*guesttest.Guest, *attach.Plug) {
	w.t.Helper()
	id := uint64(len(w.table.Ports) + 2)
	addr := netip.AddrFrom4([4]byte{10, 88, 0, byte(id)})
	w.table.Ports = append(w.table.Ports, Port{VNode: id, Name: name, Network: on, Addr: addr, Host: s.id})
	w.apply()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	plug, err := attach.Dial(ctx, s.path, attach.Request{Network: on, Name: name, Addr: addr, Publish: publish}, os.NewFile(uintptr(fds[1]), "port"))
	if err != nil {
		unix.Close(fds[0])
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { plug.Close() })
	if err := plug.Accept(network.Checksum | network.TSO4); err != nil {
		w.t.Fatal(err)
	}
	return guesttest.New(w.t, os.NewFile(uintptr(fds[0]), "guest"), plug.Addr, plug.Gateway), plug
}

// eventually waits until ok.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// echo serves TCP at a guest's port: what comes goes back.
func echo(g *guesttest.Guest, port uint16) netip.AddrPort {
	l := g.Listen(port)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	return netip.AddrPortFrom(g.Addr, port)
}
