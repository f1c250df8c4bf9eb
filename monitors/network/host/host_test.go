package host

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/remote/network"
	"splitvm/remote/network/attach"
)

const patience = time.Minute

func serve(t *testing.T) (*Networks, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n.sock")
	_, h := serveAt(t, path, Config{Range: netip.MustParsePrefix("10.88.0.0/23")}) // two networks
	return h, path
}

// serveAt has networks until the test's end, or until what it returns is called.
func serveAt(t *testing.T, path string, cfg Config) (end func(), _ *Networks) {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- h.Serve(l) }()
	end = sync.OnceFunc(func() {
		l.Close()
		h.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return end, h
}

// vnode is the far end of a cable.
type vnode struct {
	t  *testing.T
	fd int
	*attach.Plug
}

func join(t *testing.T, path string, req attach.Request) (*vnode, error) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	limit := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	plug, err := attach.Dial(ctx, path, req, os.NewFile(uintptr(fds[1]), "port"))
	if err != nil {
		unix.Close(fds[0])
		return nil, err
	}
	t.Cleanup(func() { plug.Close(); unix.Close(fds[0]) })
	return &vnode{t, fds[0], plug}, nil
}

func mustJoin(t *testing.T, path, net, name string) *vnode {
	t.Helper()
	v, err := join(t, path, attach.Request{Network: net, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// arp asks for an address and returns what comes next: the answer, or whatever
// else there is.
func (v *vnode) arp(who netip.Addr) []byte {
	v.t.Helper()
	f := make([]byte, network.HeaderSize+14+28)
	e := f[network.HeaderSize:]
	mac, from, to := network.MACOf(v.Addr.Addr()), v.Addr.Addr().As4(), who.As4()
	copy(e, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	copy(e[6:], mac[:])
	binary.BigEndian.PutUint16(e[12:], 0x0806)
	copy(e[14:], []byte{0, 1, 8, 0, 6, 4, 0, 1})
	copy(e[22:], mac[:])
	copy(e[28:], from[:])
	copy(e[38:], to[:])
	if _, err := unix.Write(v.fd, f); err != nil {
		v.t.Fatal(err)
	}
	return v.receive()
}

func (v *vnode) receive() []byte {
	v.t.Helper()
	buf := make([]byte, network.MaxFrame)
	n, err := unix.Read(v.fd, buf)
	if err != nil {
		v.t.Fatalf("%v receives: %v", v.Addr, err)
	}
	return buf[:n]
}

func isARP(f []byte, op byte, from netip.Addr) bool {
	e := f[network.HeaderSize:]
	a := from.As4()
	return len(e) >= 42 && e[12] == 8 && e[13] == 6 && e[21] == op && string(e[28:32]) == string(a[:])
}

// TestJoin: vNodes of a network see each other's and the gateway's frames,
// those of another have other addresses and see nothing.
func TestJoin(t *testing.T) {
	_, path := serve(t)
	a, b, other := mustJoin(t, path, "front", "a"), mustJoin(t, path, "front", "b"), mustJoin(t, path, "back", "a")
	if a.Addr.String() != "10.88.0.2/24" || b.Addr.String() != "10.88.0.3/24" || other.Addr.String() != "10.88.1.2/24" || other.Gateway.String() != "10.88.1.1" {
		t.Fatalf("leases %+v, %+v, %+v", a.Lease, b.Lease, other.Lease)
	}
	if got := a.arp(a.Gateway); !isARP(got, 2, a.Gateway) {
		t.Errorf("the gateway's answer: %x", got)
	}
	if got := b.receive(); !isARP(got, 1, a.Addr.Addr()) {
		t.Errorf("b heard %x, want a's question", got)
	}
	if got := other.arp(other.Gateway); !isARP(got, 2, other.Gateway) { // the first that it hears
		t.Errorf("another network heard %x", got)
	}
}

func TestRefusals(t *testing.T) {
	_, path := serve(t)
	mustJoin(t, path, "front", "a")
	mustJoin(t, path, "back", "a")
	for _, c := range []struct {
		req  attach.Request
		want string
	}{
		{attach.Request{Network: "front", Name: "A"}, "a vNode named A is on it"},
		{attach.Request{Network: "third", Name: "a"}, "room for 2 networks"},
		{attach.Request{Network: "../x", Name: "a"}, "names have"},
		{attach.Request{Network: "front", Name: "b", Addr: netip.MustParseAddr("10.88.0.2")}, "is taken"},
		{attach.Request{Network: "front", Name: "b", Addr: netip.MustParseAddr("10.88.0.1")}, "is taken"},
		{attach.Request{Network: "front", Name: "b", Addr: netip.MustParseAddr("10.88.1.9")}, "not one of"},
		{attach.Request{Network: "front", Name: "b", Publish: []attach.Publish{{Protocol: "sctp", Guest: 1}}}, "neither tcp nor udp"},
	} {
		if v, err := join(t, path, c.req); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, %v; want %q", c.req, v, err, c.want)
		}
	}
}

// TestLeave: the place of a vNode that has gone is free again.
func TestLeave(t *testing.T) {
	h, path := serve(t)
	first := mustJoin(t, path, "front", "a")
	first.Close()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		left := len(h.plugs)
		h.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a vNode that left is still there")
		}
	}
	if again := mustJoin(t, path, "front", "a"); again.Addr != first.Addr {
		t.Errorf("the next has %v, not %v", again.Addr, first.Addr)
	}
}

// TestJoinAgain: a vNode whose network's process is lost is on the network
// again, with its address and its ports, when there is a new one.
func TestJoinAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.sock")
	one, _ := serveAt(t, path, Config{Range: DefaultRange, Rack: true})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]) })
	addr := netip.MustParseAddr("10.88.3.9")
	req := attach.Request{Network: "front", Name: "a", Addr: addr, Publish: []attach.Publish{{Protocol: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:0"), Guest: 80}}}
	place, err := attach.Join(t.Context(), path, req, os.NewFile(uintptr(fds[1]), "port"), 0, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	v := &vnode{t: t, fd: fds[0], Plug: &attach.Plug{Lease: place.Lease}}
	if place.Addr.String() != "10.88.3.9/16" || place.Gateway.String() != "10.88.0.1" || len(place.Published) != 1 || place.Published[0].Host.Port() == 0 {
		t.Fatalf("lease %+v", place.Lease)
	}
	if err := place.Accept(network.Checksum); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	for range 5 {
		one()
		end, two := serveAt(t, path, Config{Range: DefaultRange, Rack: true})
		for deadline := time.Now().Add(patience); !two.has("front", addr); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("it did not join again")
			}
		}
		one = end
	}
	if got := v.arp(v.Gateway); !isARP(got, 2, v.Gateway) {
		t.Errorf("the gateway's answer: %x", got)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("tcp", place.Published[0].Host.String())
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the published port: %v", err)
		}
	}
	for deadline := time.Now().Add(patience); descriptors(t) > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors, and %d before the networks were lost", descriptors(t), before)
		}
	}
	if err := place.Close(); err != nil {
		t.Error(err)
	}
}

// descriptors is the number of sockets that are open: other files may come and go.
func descriptors(t *testing.T) (n int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// has tells whether an address is in use.
func (h *Networks) has(network string, a netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.list[network]
	return n != nil && n.used[a] != ""
}
