package mesh

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"splitvm/monitors/network/guesttest"
	"splitvm/monitors/network/mesh/wire"
	"splitvm/remote/network"
)

// stranger connects with a host and says who it is.
func stranger(t *testing.T, s *site, h wire.Hello) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.mesh.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(h.Encode()); err != nil {
		t.Fatal(err)
	}
	return c
}

// datagram is a frame with a UDP datagram to port 9.
func datagram(from, to netip.Addr, payload string) []byte {
	f := make([]byte, network.HeaderSize+14+20+8, 200)
	e := f[network.HeaderSize:]
	dst, src := network.MACOf(to), network.MACOf(from)
	copy(e, dst[:])
	copy(e[6:], src[:])
	binary.BigEndian.PutUint16(e[12:], 0x0800)
	ip := e[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	a, b := from.As4(), to.As4()
	copy(ip[12:], a[:])
	copy(ip[16:], b[:])
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(ip[20:], 5000)
	binary.BigEndian.PutUint16(ip[22:], 9)
	binary.BigEndian.PutUint16(ip[24:], uint16(8+len(payload)))
	return append(f, payload...)
}

// A host takes another one's frames only if they are from a vNode that is there, with
// that vNode's addresses; and gives them to no other network.
func TestStrangersAreRefused(t *testing.T) {
	w := newWorld(t, 3)
	front, _ := w.join(w.sites[0], "front", "front")
	back, _ := w.join(w.sites[0], "back", "back")
	friend, _ := w.join(w.sites[1], "friend", "front")
	third, _ := w.join(w.sites[2], "third", "front")
	vnode := func(g *guesttest.Guest) uint64 { return uint64(g.Addr.As4()[3]) }
	at, other := front.ListenUDP(9), back.ListenUDP(9)
	c := stranger(t, w.sites[0], wire.Hello{Rack: rackTag, Host: w.sites[1].id})
	refused := uint64(0)
	for what, m := range map[string][]byte{
		"a vNode of another host":      wire.AppendFrame(nil, vnode(third), datagram(third.Addr, front.Addr, "bad")),
		"a vNode of the receiver's":    wire.AppendFrame(nil, vnode(back), datagram(back.Addr, front.Addr, "bad")),
		"a vNode that is none":         wire.AppendFrame(nil, 99, datagram(friend.Addr, front.Addr, "bad")),
		"another's addresses":          wire.AppendFrame(nil, vnode(friend), datagram(third.Addr, front.Addr, "bad")),
		"the gateway's addresses":      wire.AppendFrame(nil, vnode(friend), datagram(front.Gateway, front.Addr, "bad")),
		"no frame":                     wire.AppendFrame(nil, vnode(friend), make([]byte, wire.MinFrame)),
		"a header that promises more":  wire.AppendFrame(nil, vnode(friend), append([]byte{1, 1, 0, 0, 255, 255}, datagram(friend.Addr, front.Addr, "bad")[6:]...)),
		"an IP header cut off":         wire.AppendFrame(nil, vnode(friend), datagram(friend.Addr, front.Addr, "")[:network.HeaderSize+14+19]),
		"another's ARP":                wire.AppendFrame(nil, vnode(friend), arpOf(friend.Addr, third.Addr)),
		"another's MAC, own addresses": wire.AppendFrame(nil, vnode(friend), withMAC(datagram(friend.Addr, front.Addr, "bad"), network.MACOf(third.Addr))),
	} {
		if _, err := c.Write(m); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		refused++
		w.eventually(what+" is refused", func() bool { return w.sites[0].mesh.Stats().Refused == refused })
	}
	c.Write(wire.AppendFrame(nil, vnode(friend), datagram(friend.Addr, back.Addr, "to another network")))
	c.Write(wire.AppendFrame(nil, vnode(friend), datagram(friend.Addr, front.Gateway, "to the gateway")))
	c.Write(wire.AppendFrame(nil, vnode(friend), datagram(friend.Addr, front.Addr, "good")))
	buf := make([]byte, 100)
	if n, err := at.Read(buf); err != nil || string(buf[:n]) != "good" {
		t.Errorf("the first that came: %q, %v", buf[:n], err)
	}
	other.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := other.Read(buf); err == nil {
		t.Errorf("another network got %q", buf[:n])
	}
}

// arpOf is a question for everybody, in which an address speaks for another.
func arpOf(own, claimed netip.Addr) []byte {
	f := make([]byte, network.HeaderSize+14+28)
	e := f[network.HeaderSize:]
	mac, from := network.MACOf(own), claimed.As4()
	copy(e, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	copy(e[6:], mac[:])
	binary.BigEndian.PutUint16(e[12:], 0x0806)
	copy(e[14:], []byte{0, 1, 8, 0, 6, 4, 0, 1})
	copy(e[22:], mac[:])
	copy(e[28:], from[:])
	return f
}

func withMAC(f []byte, m network.MAC) []byte {
	copy(f[network.HeaderSize+6:], m[:])
	return f
}

// Who is of another rack, or speaks something else, is cut off.
func TestStrangersAreCutOff(t *testing.T) {
	w := newWorld(t, 2)
	front, _ := w.join(w.sites[0], "front", "front")
	friend, _ := w.join(w.sites[1], "friend", "front")
	good := wire.AppendFrame(nil, uint64(friend.Addr.As4()[3]), datagram(friend.Addr, front.Addr, "good"))
	for what, say := range map[string]func() net.Conn{
		"another rack": func() net.Conn { return stranger(t, w.sites[0], wire.Hello{Rack: rackTag + 1, Host: 2}) },
		"a long frame": func() net.Conn {
			c := stranger(t, w.sites[0], wire.Hello{Rack: rackTag, Host: 2})
			c.Write(wire.AppendFrame(nil, 2, make([]byte, 1<<20)))
			return c
		},
		"another protocol": func() net.Conn {
			c := stranger(t, w.sites[0], wire.Hello{Rack: rackTag, Host: 2})
			c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			return c
		},
	} {
		c := say()
		c.Write(good)
		if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("%s: %v, want the connection's end", what, err)
		}
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout() || err == io.ErrNoProgress
}
