package rack

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/monitors/network/guesttest"
	"splitvm/remote/network"
	"splitvm/remote/network/attach"
	"splitvm/vmm/usernet"
)

// cable starts a vNode that has no network device, and returns what would be that one's
// end of a cable to its network, with its name and address, at its host.
func (r *rack) cable(name, on string, publish ...attach.Publish) (*os.File, *attach.Plug) {
	t := r.t
	t.Helper()
	r.must("create", "--name", name, "--network", on, "--bare", "verify,accesses=1000000000000", "--mem", "16M", "--vregion", "8M", "--excache", "2M")
	r.must("start", name)
	v := r.vnode(name)
	dir := ""
	for _, m := range list[[]member](r, "monitor", "ls") {
		if m.ID == v.Processor {
			dir = "p" + strings.TrimPrefix(m.Name, "processor-")
		}
	}
	own, port, err := usernet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(uintptr(own.Queues()[0]), unix.F_DUPFD_CLOEXEC, 0)
	own.Close()
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "cable") // of a descriptor that does not block
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req := attach.Request{Network: on, Name: name, Addr: netip.MustParseAddr(v.VIP), Publish: publish}
	plug, err := attach.Dial(ctx, filepath.Join(r.dir, "rack", dir, "network.sock"), req, port)
	if err != nil {
		file.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { plug.Close(); file.Close() })
	if err := plug.Accept(network.Checksum | network.TSO4); err != nil {
		t.Fatal(err)
	}
	return file, plug
}

// stack puts a network stack of this process on a network, in the place of a vNode's
// guest.
func (r *rack) stack(name, on string, publish ...attach.Publish) (*guesttest.Guest, *attach.Plug) {
	r.t.Helper()
	file, plug := r.cable(name, on, publish...)
	return guesttest.New(r.t, file, plug.Addr, plug.Gateway), plug
}

// serveEcho sends back what comes.
func serveEcho(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { defer c.Close(); io.Copy(c, c) }()
	}
}

// roundTrip has an echo send some data back.
func roundTrip(t testing.TB, c net.Conn) {
	t.Helper()
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	data := strings.Repeat("splitvm ", 20_000)
	go io.WriteString(c, data)
	got := make([]byte, len(data))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != data {
		t.Errorf("what came back is wrong: %v", err)
	}
}

// vNodes on two hosts find each other by name, and reach each other and the outside;
// those of another network are out of reach, and unknown.
func TestNamesAndNAT(t *testing.T) {
	outside, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	go serveEcho(outside)
	r := up(t, "--processors", "2")
	anywhere := attach.Publish{Protocol: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:0"), Guest: 7}
	a, _ := r.stack("a", "front")
	b, plug := r.stack("b", "front", anywhere)
	c, _ := r.stack("c", "back")
	d, _ := r.stack("d", "back")
	if r.vnode("a").Processor == r.vnode("b").Processor || r.vnode("c").Processor == r.vnode("d").Processor {
		t.Fatal("two vNodes of a network are on one processor monitor")
	}
	for _, g := range []*guesttest.Guest{a, b, c, d} {
		go serveEcho(g.Listen(7))
	}
	find := func(g *guesttest.Guest, name string) (found []netip.Addr) {
		found, _ = g.Resolver().LookupNetIP(t.Context(), "ip4", name)
		return found
	}
	for from, to := range map[*guesttest.Guest]string{a: "b", b: "a", c: "d", d: "c.internal"} {
		var found []netip.Addr
		r.eventually(to+" is found", func() bool { found = find(from, to); return len(found) == 1 })
		conn, err := from.Dial(netip.AddrPortFrom(found[0], 7))
		if err != nil {
			t.Fatalf("%s at %v: %v", to, found[0], err)
		}
		roundTrip(t, conn)
	}
	for _, other := range []*guesttest.Guest{c, d} {
		if conn, err := a.DialFor(time.Second, netip.AddrPortFrom(other.Addr, 7)); err == nil {
			conn.Close()
			t.Errorf("a reaches %v of another network", other.Addr)
		}
	}
	if found := find(a, "c"); len(found) != 0 {
		t.Errorf("a finds another network's c at %v", found)
	}
	conn, err := net.Dial("tcp", plug.Published[0].Host.String())
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, conn)
	if at, ok := hostAddr(t); ok {
		for _, g := range []*guesttest.Guest{a, b} {
			conn, err := g.Dial(netip.AddrPortFrom(at, uint16(outside.Addr().(*net.TCPAddr).Port)))
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, conn)
		}
	}
	r.end("a", "b", "c", "d")
}

// hostAddr is an address of this host that is not its loopback.
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
	t.Log("this host has no address but its loopback's")
	return netip.Addr{}, false
}
