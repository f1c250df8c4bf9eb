package mesh

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"splitvm/monitors/network/guesttest"
	"splitvm/remote/network/attach"
)

// talk sends data through an echo and back.
func talk(t testing.TB, c net.Conn, size int) {
	t.Helper()
	data := make([]byte, size)
	random := rand.NewChaCha8([32]byte{})
	random.Read(data)
	c.SetDeadline(time.Now().Add(patience))
	go c.Write(data)
	got := make([]byte, size)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Error("what came back is not what was sent")
	}
}

func dial(t testing.TB, g *guesttest.Guest, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := g.Dial(to)
	if err != nil {
		t.Fatalf("%v connects to %v: %v", g.Addr, to, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Guests on three hosts reach each other by address and by name, and datagrams to
// all come once.
func TestGuestsOfOneNetwork(t *testing.T) {
	w := newWorld(t, 3)
	a, _ := w.join(w.sites[0], "a", "front")
	b, _ := w.join(w.sites[1], "b", "front")
	c, _ := w.join(w.sites[2], "C", "front")
	at := echo(b, 7)
	for _, g := range []*guesttest.Guest{a, c} {
		talk(t, dial(t, g, at), 3<<20)
	}
	for name, want := range map[string]netip.Addr{"b": b.Addr, "c.internal": c.Addr, "a": a.Addr} {
		for _, g := range []*guesttest.Guest{a, b, c} {
			found, err := g.Resolver().LookupNetIP(t.Context(), "ip4", name)
			if err != nil || len(found) != 1 || found[0] != want {
				t.Errorf("%v looks %s up: %v, %v; want %v", g.Addr, name, found, err, want)
			}
		}
	}
}

// A vNode's name is not known any more when the table does not have it.
func TestNameOfTheGone(t *testing.T) {
	w := newWorld(t, 2)
	a, _ := w.join(w.sites[0], "a", "front")
	w.join(w.sites[1], "b", "front")
	w.table.Ports = w.table.Ports[:1]
	w.apply()
	if found, err := a.Resolver().LookupNetIP(t.Context(), "ip4", "b"); err == nil {
		t.Errorf("b is %v", found)
	}
}

// A vNode that runs on another host now is known, also after it has left the one that
// it was on.
func TestNameOfTheMoved(t *testing.T) {
	w := newWorld(t, 2)
	a, _ := w.join(w.sites[0], "a", "front")
	b, plug := w.join(w.sites[0], "b", "front")
	w.table.Ports[1].Host = w.sites[1].id
	w.apply()
	plug.Close()
	w.eventually("it has left", func() bool { return w.sites[0].nets.Plugged() == 1 })
	found, err := a.Resolver().LookupNetIP(t.Context(), "ip4", "b")
	if err != nil || len(found) != 1 || found[0] != b.Addr {
		t.Errorf("b is %v, %v", found, err)
	}
}

// Guests of different networks don't reach each other, on one host or two, nor know
// each other's names.
func TestNetworksAreApart(t *testing.T) {
	w := newWorld(t, 2)
	a, _ := w.join(w.sites[0], "a", "front")
	near, _ := w.join(w.sites[0], "near", "back")
	far, _ := w.join(w.sites[1], "far", "back")
	b, _ := w.join(w.sites[1], "b", "front")
	talk(t, dial(t, a, echo(b, 7)), 1000) // the hosts are joined
	talk(t, dial(t, near, echo(far, 7)), 1000)
	for _, to := range []netip.AddrPort{echo(near, 8), netip.AddrPortFrom(far.Addr, 7)} {
		if c, err := a.DialFor(time.Second, to); err == nil {
			c.Close()
			t.Errorf("front's a reaches back's %v", to)
		}
	}
	for _, name := range []string{"near", "far"} {
		if found, err := a.Resolver().LookupNetIP(t.Context(), "ip4", name); err == nil {
			t.Errorf("front's a finds back's %s at %v", name, found)
		}
	}
}

// Each guest reaches the outside at its own host, and a published port leads to it
// from there.
func TestOutside(t *testing.T) {
	w := newWorld(t, 2)
	outside, ok := hostAddr(t)
	if !ok {
		t.Skip("this host has no address but its loopback's")
	}
	l, err := net.Listen("tcp", net.JoinHostPort(outside.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	anywhere := attach.Publish{Protocol: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:0"), Guest: 80}
	for i, s := range w.sites {
		g, plug := w.join(s, string(rune('a'+i)), "front", anywhere)
		talk(t, dial(t, g, l.Addr().(*net.TCPAddr).AddrPort()), 100_000)
		echo(g, 80)
		c, err := net.Dial("tcp", plug.Published[0].Host.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		talk(t, c, 100_000)
	}
}

// hostAddr is an address of this host's that is not its loopback.
func hostAddr(t testing.TB) (netip.Addr, bool) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}
