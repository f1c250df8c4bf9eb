package net

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// cable is a backend whose other ends the test holds: a pair of sockets that
// keep frames apart, as a user-space network would have them.
type cable struct {
	ours, theirs []int
	offloads     Offload
	applied      chan Settings
	broken       atomic.Bool
}

func newCable(t testing.TB, pairs int) *cable {
	t.Helper()
	c := &cable{offloads: Checksum | TSO4 | TSO6, applied: make(chan Settings, 1000)}
	for range pairs {
		s, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SetNonblock(s[1], false); err != nil {
			t.Fatal(err)
		}
		patience := unix.NsecToTimeval(int64(virtiotest.Patience))
		for _, o := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
			if err := unix.SetsockoptTimeval(s[1], unix.SOL_SOCKET, o, &patience); err != nil {
				t.Fatal(err)
			}
		}
		c.ours, c.theirs = append(c.ours, s[0]), append(c.theirs, s[1])
		t.Cleanup(func() { unix.Close(s[0]); unix.Close(s[1]) })
	}
	return c
}

func (c *cable) Queues() []int     { return c.ours }
func (c *cable) Offloads() Offload { return c.offloads }

func (c *cable) Apply(s Settings) error {
	c.applied <- s
	if c.broken.Load() {
		return errors.New("no")
	}
	return nil
}

// nic is a guest's driver of a network device.
type nic struct {
	*virtiotest.Machine
	t    testing.TB
	bufs map[*virtiotest.Queue]map[int]virtq.Span
	free map[uint32][]layout.GPA // buffers by size
}

func newNIC(t testing.TB, d *Device, o virtiotest.Options, without virtio.Features) *nic {
	t.Helper()
	return &nic{Machine: virtiotest.Start(t, d, o, without), t: t, bufs: map[*virtiotest.Queue]map[int]virtq.Span{}, free: map[uint32][]layout.GPA{}}
}

func newDevice(t testing.TB, b Backend) *Device {
	t.Helper()
	d, err := New(Config{Backend: b, MAC: MAC{2, 0, 0, 0, 0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// add makes a buffer of n bytes available, in two pieces.
func (g *nic) add(q *virtiotest.Queue, n uint32, p []byte) {
	g.t.Helper()
	if len(g.free[n]) == 0 {
		g.free[n] = append(g.free[n], g.Alloc(uint64(n)))
	}
	s := virtq.Span{GPA: g.free[n][0], Len: n}
	cut := min(n/2, 17)
	pieces := []virtq.Span{{GPA: s.GPA, Len: cut}, {GPA: s.GPA + layout.GPA(cut), Len: n - cut}}
	var id int
	var ok bool
	if p == nil {
		id, ok = q.Add(nil, pieces)
	} else {
		if err := g.Memory.WriteAt(p, s.GPA); err != nil {
			g.t.Fatal(err)
		}
		id, ok = q.Add(pieces, nil)
	}
	if !ok {
		g.t.Fatal("the ring is full")
	}
	g.free[n] = g.free[n][1:]
	if g.bufs[q] == nil {
		g.bufs[q] = map[int]virtq.Span{}
	}
	g.bufs[q][id] = s
}

func (g *nic) wait(q *virtiotest.Queue) []byte {
	g.t.Helper()
	id, n := q.Wait()
	s := g.bufs[q][id]
	delete(g.bufs[q], id)
	g.free[s.Len] = append(g.free[s.Len], s.GPA)
	p := make([]byte, n)
	if err := g.Memory.ReadAt(p, s.GPA); err != nil {
		g.t.Fatal(err)
	}
	return p
}

// stock keeps n receive buffers available.
func (g *nic) stock(q *virtiotest.Queue, n int, size uint32) {
	g.t.Helper()
	for len(g.bufs[q]) < n {
		g.add(q, size, nil)
	}
	q.Kick()
}

// receive takes a frame with its header out of as many buffers as it says.
func (g *nic) receive(q *virtiotest.Queue) []byte {
	g.t.Helper()
	p := g.wait(q)
	if len(p) < HeaderSize {
		g.t.Fatalf("a frame of %d bytes", len(p))
	}
	for n := binary.LittleEndian.Uint16(p[10:]); n > 1; n-- {
		p = append(p, g.wait(q)...)
	}
	return p
}

// transmit sends a frame with its header and waits until it is used.
func (g *nic) transmit(q *virtiotest.Queue, p []byte) {
	g.t.Helper()
	g.add(q, uint32(len(p)), p)
	q.Kick()
	g.wait(q)
}

// command sends one by the control queue and returns the acknowledgement.
func (g *nic) command(class, cmd byte, data ...byte) byte {
	g.t.Helper()
	return g.Queues[len(g.Queues)-1].Do(append([]byte{class, cmd}, data...), 1)[0]
}

// frame is a random frame of n bytes with a random header before it.
func frame(r *rand.Rand, n int) []byte {
	p := make([]byte, HeaderSize+n)
	r.Read(p)
	return p
}

func equal(a, b []byte) bool { // but for num_buffers
	return len(a) == len(b) && bytes.Equal(a[:HeaderSize-2], b[:HeaderSize-2]) && bytes.Equal(a[HeaderSize:], b[HeaderSize:])
}
