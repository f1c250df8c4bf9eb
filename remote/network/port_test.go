package network

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	addrA = netip.MustParseAddr("10.1.0.2")
	addrB = netip.MustParseAddr("10.1.0.3")
	addrC = netip.MustParseAddr("10.1.0.4")
)

// guest is the far end of a port.
type guest struct {
	t    testing.TB
	fd   int
	port *Port
}

const patience = time.Minute

func plug(t testing.TB, sw *Switch, addr netip.Addr) *guest {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	limit := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		t.Fatal(err)
	}
	p, err := sw.Attach(PortConfig{Addr: addr}, os.NewFile(uintptr(fds[1]), "port"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); unix.Close(fds[0]) })
	return &guest{t, fds[0], p}
}

func (g *guest) send(f []byte) {
	g.t.Helper()
	if _, err := unix.Write(g.fd, f); err != nil {
		g.t.Fatalf("send: %v", err)
	}
}

func (g *guest) receive() []byte {
	g.t.Helper()
	buf := make([]byte, MaxFrame)
	n, err := unix.Read(g.fd, buf)
	if err != nil {
		g.t.Fatalf("receive: %v", err)
	}
	return buf[:n]
}

// datagram is a UDP packet with its Ethernet and virtio_net headers.
func datagram(from, to netip.Addr, dst MAC, payload string) frame {
	f := make(frame, HeaderSize+etherSize+minIPv4+8, MaxFrame)
	src := MACOf(from)
	copy(f.ether(), dst[:])
	copy(f.ether()[6:], src[:])
	binary.BigEndian.PutUint16(f.ether()[12:], etherIPv4)
	f = append(f, payload...)
	p := f.payload()
	p[0], p[8], p[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	a, b := from.As4(), to.As4()
	copy(p[12:], a[:])
	copy(p[16:], b[:])
	binary.BigEndian.PutUint16(p[24:], uint16(len(p)-minIPv4))
	return f
}

var everybody = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func TestPortsOfOneNetwork(t *testing.T) {
	sw := NewSwitch()
	a, b, c := plug(t, sw, addrA), plug(t, sw, addrB), plug(t, sw, addrC)
	f := datagram(addrA, addrB, MACOf(addrB), "to b")
	a.send(f)
	if got := b.receive(); !bytes.Equal(got, f) {
		t.Errorf("b received %x, want %x", got, f)
	}
	all := datagram(addrA, addrB, everybody, "to all")
	a.send(all)
	for _, g := range []*guest{b, c} { // c gets the broadcast first: what was for b is not for it
		if got := g.receive(); !bytes.Equal(got, all) {
			t.Errorf("%v received %x, want the broadcast", g.port.Addr(), got)
		}
	}
	b.send(datagram(addrB, addrA, MACOf(addrA), "back"))
	if got := a.receive(); !bytes.HasSuffix(got, []byte("back")) { // nor its own broadcast
		t.Errorf("a received %x", got)
	}
}

func TestPortRefuses(t *testing.T) {
	sw := NewSwitch()
	a, b := plug(t, sw, addrA), plug(t, sw, addrB)
	good := datagram(addrA, addrB, MACOf(addrB), "good")
	bad := map[string]func(frame) frame{
		"another's MAC":     func(f frame) frame { f[HeaderSize+11]++; return f },
		"another's address": func(f frame) frame { f.payload()[15]++; return f },
		"IPv6":              func(f frame) frame { f.ether()[12], f.ether()[13] = 0x86, 0xdd; return f },
		"cut short":         func(f frame) frame { return f[:HeaderSize+etherSize+minIPv4-1] },
		"header only":       func(f frame) frame { return f[:HeaderSize] },
		"long IP header":    func(f frame) frame { f.payload()[0] = 0x4f; return f },
		"checksum outside":  func(f frame) frame { f[0] = 1; f[6], f[7] = 0xff, 0xff; return f },
		"tiny segments":     func(frame) frame { return stream(make([]byte, 100), minMSS-1) },
		"segments of UDP":   func(f frame) frame { f[0], f[1], f[4], f[6], f[8] = 1, gsoTCPv4, 100, 34, 16; return f },
		"unknown GSO":       func(f frame) frame { f[1] = 3; return f },
		"an ARP too short":  func(f frame) frame { f.ether()[13] = 6; return f[:HeaderSize+etherSize+arpSize-1] },
		"another's ARP":     func(f frame) frame { f.ether()[13] = 6; return f },
	}
	for name, change := range bad {
		before := a.port.Stats().Refused
		a.send(change(bytes.Clone(good)))
		a.send(good)
		if got := b.receive(); !bytes.Equal(got, good) {
			t.Errorf("%s: b received %x", name, got)
		}
		if n := a.port.Stats().Refused; n != before+1 {
			t.Errorf("%s: %d frames refused, want 1", name, n-before)
		}
	}
}

func TestNetworksAreApart(t *testing.T) {
	one, two := NewSwitch(), NewSwitch()
	a, b, c := plug(t, one, addrA), plug(t, two, addrB), plug(t, one, addrC)
	for _, to := range []MAC{MACOf(addrB), everybody} {
		a.send(datagram(addrA, addrB, to, "hello"))
	}
	c.receive() // so the broadcast has been carried
	if n := b.port.Stats().Received; n != 0 {
		t.Errorf("%d frames crossed to another network", n)
	}
}

// A guest that takes no frames has a bounded queue, and the newest are lost.
func TestSlowGuest(t *testing.T) {
	sw := NewSwitch()
	a, b := plug(t, sw, addrA), plug(t, sw, addrB)
	big := string(make([]byte, 60000))
	const count = 200
	for i := range count {
		f := datagram(addrA, addrB, MACOf(addrB), big)
		f[len(f)-1] = byte(i)
		a.send(f)
	}
	for a.port.Stats().Sent < count { // the last is carried
		time.Sleep(time.Millisecond)
	}
	dropped := b.port.Stats().Dropped
	if dropped == 0 || dropped > count-queueBytes/60000 {
		t.Errorf("%d of %d frames dropped", dropped, count)
	}
	for i := range count - int(dropped) {
		if f := b.receive(); f[len(f)-1] != byte(i) {
			t.Fatalf("frame %d is %d", i, f[len(f)-1])
		}
	}
}

func TestPortEndsWithItsGuest(t *testing.T) {
	sw := NewSwitch()
	a, b := plug(t, sw, addrA), plug(t, sw, addrB)
	unix.Shutdown(b.fd, unix.SHUT_RDWR)
	b.port.Wait()
	a.send(datagram(addrA, addrB, MACOf(addrB), "nobody there"))
	plug(t, sw, addrB) // the address is free again
}
