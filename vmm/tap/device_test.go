package tap

import (
	"bytes"
	"encoding/binary"
	"math/rand"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/net"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// guest is a driver of a network device that is plugged into a real tap.
type guest struct {
	*virtiotest.Machine
	t    *testing.T
	bufs map[int]virtq.Span
}

func newGuest(t *testing.T, tap *Tap, o virtiotest.Options, without virtio.Features) *guest {
	t.Helper()
	dev, err := net.New(net.Config{Backend: tap, MAC: net.MAC{2, 0, 0, 0, 0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{Machine: virtiotest.Start(t, dev, o, without), t: t, bufs: map[int]virtq.Span{}}
	for range 20 {
		g.supply(virtq.Span{GPA: g.Alloc(net.MaxFrame), Len: net.MaxFrame})
	}
	return g
}

func (g *guest) supply(s virtq.Span) {
	g.t.Helper()
	id, ok := g.Queues[0].Add(nil, []virtq.Span{s})
	if !ok {
		g.t.Fatal("the ring is full")
	}
	g.bufs[id] = s
	g.Queues[0].Kick()
}

// receive returns the next frame from the test's sender, with its header.
func (g *guest) receive() []byte {
	g.t.Helper()
	for {
		id, n := g.Queues[0].Wait()
		p := make([]byte, n)
		if err := g.Memory.ReadAt(p, g.bufs[id].GPA); err != nil {
			g.t.Fatal(err)
		}
		g.supply(g.bufs[id])
		if p[net.HeaderSize+11] == 9 { // the sender's address; the host has chatter of its own
			return p
		}
	}
}

func TestDeviceOnTap(t *testing.T) {
	for _, o := range []virtiotest.Options{{}, {Packed: true, Indirect: true, EventIdx: true}} {
		namespace(t)
		tap := open(t, Config{Up: true, MTU: 9000})
		host, g := wire(t, tap), newGuest(t, tap, o, 0)
		r := rand.New(rand.NewSource(1))
		got := make([]byte, 10_000)
		for range 200 {
			body := make([]byte, 50+r.Intn(8900))
			r.Read(body)
			p := frame(net.MAC{2, 0, 0, 0, 0, 1}, string(body))
			if _, err := unix.Write(host, p); err != nil {
				t.Fatal(err)
			}
			if q := g.receive(); !bytes.Equal(q[net.HeaderSize:], p) || q[10] != 1 {
				t.Fatalf("the guest received %d other bytes in %d buffers", len(q), q[10])
			}
			g.Queues[1].Do(append(make([]byte, net.HeaderSize), p...), 0)
			if n := nextFromGuest(t, host, got); !bytes.Equal(got[:n], p) {
				t.Fatalf("the host received %d other bytes", n)
			}
		}
	}
}

// nextFromGuest skips what the host itself has sent.
func nextFromGuest(t *testing.T, host int, p []byte) int {
	t.Helper()
	for {
		n, from, err := unix.Recvfrom(host, p, 0)
		if err != nil {
			t.Fatalf("nothing from the guest: %v", err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
			return n
		}
	}
}

// segment is a TCP segment larger than any MTU, with a virtio_net_hdr that
// says how to cut it.
func segment(to, from byte, payload int) (header, p []byte) {
	header = make([]byte, net.HeaderSize)
	header[0] = 1 // NEEDS_CSUM
	header[1] = 1 // GSO_TCPV4
	binary.LittleEndian.PutUint16(header[2:], 54)
	binary.LittleEndian.PutUint16(header[4:], 1000) // bytes each
	binary.LittleEndian.PutUint16(header[6:], 34)   // csum_start: TCP
	binary.LittleEndian.PutUint16(header[8:], 16)
	p = []byte{2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, from, 10, 0, 0, to}
	binary.BigEndian.PutUint16(p[16:], uint16(40+payload))
	p = append(p, 0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x20, 0, 0, 0, 0, 0)
	for i := range payload {
		p = append(p, byte(i%251))
	}
	return header, p
}

// TestSegmentation sends segments of 10,000 bytes through the tap: they stay
// whole where the driver accepted that, and else the kernel cuts them.
func TestSegmentation(t *testing.T) {
	const guestTSO4, payload = 1 << 7, 10_000
	for name, without := range map[string]virtio.Features{"accepted": 0, "refused": guestTSO4} {
		t.Run(name, func(t *testing.T) {
			namespace(t)
			tap := open(t, Config{Up: true})
			host, g := wire(t, tap), newGuest(t, tap, virtiotest.Options{}, without)
			if err := unix.SetsockoptInt(host, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
				t.Fatal(err)
			}
			header, p := segment(1, 9, payload)
			if _, err := unix.Write(host, append(header[:10:10], p...)); err != nil {
				t.Fatal(err)
			}
			if without == 0 {
				if q := g.receive(); q[1]&^0x80 != 1 || !bytes.Equal(q[net.HeaderSize+54:], p[54:]) {
					t.Errorf("the guest received %d other bytes, header %x", len(q), q[:net.HeaderSize])
				}
			} else {
				var sum []byte
				for len(sum) < payload {
					q := g.receive()
					if q[1] != 0 || len(q) != net.HeaderSize+54+1000 {
						t.Fatalf("%d bytes, header %x", len(q), q[:net.HeaderSize])
					}
					sum = append(sum, q[net.HeaderSize+54:]...)
				}
				if !bytes.Equal(sum, p[54:]) {
					t.Error("the guest received another payload")
				}
			}
			header, p = segment(9, 1, payload)
			g.Queues[1].Do(append(header, p...), 0)
			got := make([]byte, 20_000)
			n := nextFromGuest(t, host, got)
			if got[1]&^0x80 != 1 || !bytes.Equal(got[10+54:n], p[54:]) {
				t.Errorf("the host received %d other bytes, header %x", n, got[:10])
			}
		})
	}
}
