package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"splitvm/monitors/network/names"
	"splitvm/remote/network"
)

func noise(n int, seed int64) []byte {
	p := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(p)
	return p
}

// echoServer sends back what it receives, and ends a connection when its
// client has ended its half.
func echoServer(t testing.TB, l net.Listener) {
	t.Helper()
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// roundTrip sends data, ends the half, and reads all that comes back.
func roundTrip(c halfCloser, data []byte) ([]byte, error) {
	c.SetDeadline(time.Now().Add(patience))
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		sent <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(c)
	return got, errors.Join(err, <-sent)
}

func hostListener(t testing.TB) (net.Listener, uint16) {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, uint16(l.Addr().(*net.TCPAddr).Port)
}

// TestTCPOutside has guests that take segments as they are, and some that
// don't, talk to a server of the host's.
func TestTCPOutside(t *testing.T) {
	l, port := hostListener(t)
	echoServer(t, l)
	addr, _ := hostAddr(t)
	sw, _ := newGateway(t, Config{HostLoopback: true})
	for i, accept := range []network.Offload{network.Checksum | network.TSO4, network.Checksum, 0} {
		g := plug(t, sw, byte(10+i), accept)
		c, err := g.Dial(netip.AddrPortFrom(addr, port))
		if err != nil {
			t.Fatal(err)
		}
		want := noise(3<<20, int64(i))
		got, err := roundTrip(c, want)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("offloads %b: %d bytes of %d came back (%v)", accept, len(got), len(want), err)
		}
	}
}

// TestRefusals: a guest sees a refusal as a refusal, and has no way to what it
// must not reach.
func TestRefusals(t *testing.T) {
	l, port := hostListener(t)
	echoServer(t, l)
	free, closed := hostListener(t)
	free.Close()
	addr, _ := hostAddr(t)
	sw, _ := newGateway(t, Config{Reachable: func(a netip.Addr) bool { return a != netip.MustParseAddr("192.0.2.1") }})
	g := plug(t, sw, 10, 0)
	for _, to := range []netip.AddrPort{
		netip.AddrPortFrom(gwAddr, port), // the host's loopback
		netip.MustParseAddrPort("192.0.2.1:80"),
		netip.MustParseAddrPort("169.254.169.254:80"),
		netip.AddrPortFrom(addr, closed),
	} {
		if c, err := g.Dial(to); err == nil {
			c.Close()
			t.Errorf("a connection to %v", to)
		}
	}
}

// TestBetweenGuests: guests reach each other past the gateway, which answers for
// no address but its own.
func TestBetweenGuests(t *testing.T) {
	sw, _ := newGateway(t, Config{})
	a, b := plug(t, sw, 10, network.Checksum|network.TSO4), plug(t, sw, 11, 0)
	echoServer(t, b.Listen(80))
	c, err := a.Dial(netip.AddrPortFrom(b.Addr, 80))
	if err != nil {
		t.Fatal(err)
	}
	want := noise(1<<20, 1)
	if got, err := roundTrip(c, want); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d came back (%v)", len(got), len(want), err)
	}
	if c, err := a.DialFor(3*time.Second, netip.MustParseAddrPort("10.0.2.77:80")); err == nil {
		c.Close()
		t.Error("an address that is nobody's answers")
	}
}

func TestUDPOutside(t *testing.T) {
	c, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(buf[:n], from)
		}
	}()
	addr, _ := hostAddr(t)
	sw, _ := newGateway(t, Config{HostLoopback: true})
	u := plug(t, sw, 10, 0).UDP(netip.AddrPortFrom(addr, uint16(c.LocalAddr().(*net.UDPAddr).Port)))
	for _, size := range []int{1, 1400, 9000} { // the last in fragments
		want, got := noise(size, int64(size)), make([]byte, 1<<16)
		if _, err := u.Write(want); err != nil {
			t.Fatal(err)
		}
		if n, err := u.Read(got); err != nil || !bytes.Equal(got[:n], want) {
			t.Errorf("%d bytes of %d came back (%v)", n, size, err)
		}
	}
}

func TestPublish(t *testing.T) {
	sw, gw := newGateway(t, Config{})
	g := plug(t, sw, 10, network.Checksum|network.TSO4)
	echoServer(t, g.Listen(80))
	pub, err := gw.Publish(Publication{Protocol: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:0"), Guest: netip.AddrPortFrom(g.Addr, 80)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		c, err := net.Dial("tcp", pub.Host.String())
		if err != nil {
			t.Fatal(err)
		}
		want := noise(1<<20, int64(i))
		if got, err := roundTrip(c.(*net.TCPConn), want); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes of %d came back (%v)", len(got), len(want), err)
		}
		c.Close()
	}
	pub.Close()
	if c, err := net.Dial("tcp", pub.Host.String()); err == nil {
		c.Close()
		t.Error("the port is open after Close")
	}
}

func TestPublishUDP(t *testing.T) {
	sw, gw := newGateway(t, Config{})
	g := plug(t, sw, 10, 0)
	server := g.ListenUDP(53)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			server.WriteTo(bytes.ToUpper(buf[:n]), from)
		}
	}()
	pub, err := gw.Publish(Publication{Protocol: "udp", Host: netip.MustParseAddrPort("127.0.0.1:0"), Guest: netip.AddrPortFrom(g.Addr, 53)})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	for i := range 3 { // each is another peer
		c, err := net.Dial("udp", pub.Host.String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "peer %d", i)
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		if want := fmt.Sprintf("PEER %d", i); err != nil || string(buf[:n]) != want {
			t.Errorf("answer %q (%v), want %q", buf[:n], err, want)
		}
		c.Close()
	}
}

// TestNames asks the gateway for names over both transports.
func TestNames(t *testing.T) {
	table := &names.Table{}
	table.Set("web1", netip.MustParseAddr("10.0.2.10"))
	sw, _ := newGateway(t, Config{Names: table})
	g := plug(t, sw, 10, 0)
	resolver := g.Resolver()
	for _, name := range []string{"web1.", "WEB1.internal."} {
		got, err := resolver.LookupNetIP(t.Context(), "ip4", name)
		if err != nil || len(got) != 1 || got[0] != g.Addr {
			t.Errorf("%s is %v (%v)", name, got, err)
		}
	}
	if got, err := resolver.LookupAddr(t.Context(), "10.0.2.10"); err != nil || len(got) != 1 || got[0] != "web1.internal." {
		t.Errorf("10.0.2.10 is %v (%v)", got, err)
	}
	var dns *net.DNSError
	if _, err := resolver.LookupHost(t.Context(), "web2.internal."); !errors.As(err, &dns) || !dns.IsNotFound {
		t.Errorf("a name that is not there: %v", err)
	}
	c, err := g.Dial(netip.AddrPortFrom(gwAddr, 53))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	for range 2 {
		if err := writeMessage(c, question(t, "web1.")); err != nil {
			t.Fatal(err)
		}
		reply, err := readMessage(c)
		var m dnsmessage.Message
		if err != nil || m.Unpack(reply) != nil || len(m.Answers) != 1 {
			t.Fatalf("over TCP: %v, %v", m, err)
		}
	}
}

// TestClose has connections of every kind under way.
func TestClose(t *testing.T) {
	l, port := hostListener(t)
	echoServer(t, l)
	addr, _ := hostAddr(t)
	sw, gw := newGateway(t, Config{HostLoopback: true})
	g := plug(t, sw, 10, 0)
	echoServer(t, g.Listen(80))
	pub, err := gw.Publish(Publication{Protocol: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:0"), Guest: netip.AddrPortFrom(g.Addr, 80)})
	if err != nil {
		t.Fatal(err)
	}
	out, err := g.Dial(netip.AddrPortFrom(addr, port))
	if err != nil {
		t.Fatal(err)
	}
	in, err := net.Dial("tcp", pub.Host.String())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for _, c := range []net.Conn{out, in} {
		c.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(c, "x")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	g.UDP(netip.AddrPortFrom(addr, port)).Write([]byte("x"))
	gw.Close()
	if _, err := in.Read(make([]byte, 1)); err == nil {
		t.Error("a published connection outlives the gateway")
	}
}
