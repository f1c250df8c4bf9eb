package net

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

var layouts = []virtiotest.Options{
	{}, {Indirect: true, EventIdx: true}, {Packed: true}, {Packed: true, Indirect: true, EventIdx: true},
}

func TestFramesBothWays(t *testing.T) {
	for _, o := range layouts {
		for _, c := range []struct {
			name    string
			without virtio.Features
			buffers int
			size    uint32
		}{
			{"large mergeable", 0, 60, 4096},
			{"small mergeable", 0, 120, 600}, // a large frame takes 110
			{"few mergeable", 0, 20, 4096},   // never enough in hand for the largest
			{"one each", featureMergeable, 3, MaxFrame},
		} {
			t.Run(fmt.Sprintf("%s %+v", c.name, o), func(t *testing.T) {
				cable := newCable(t, 1)
				d := newDevice(t, cable)
				g := newNIC(t, d, o, c.without)
				r := rand.New(rand.NewSource(1))
				for i := range 50 {
					n := 14 + r.Intn(1500)
					if i%5 == 0 {
						n = 60000 + r.Intn(5000)
					}
					g.exchange(cable, frame(r, n), c.buffers, c.size)
				}
				if s := d.Stats(); s.RxFrames != 50 || s.TxFrames != 50 || s.RxBytes != s.TxBytes || s.RxDropped+s.TxDropped != 0 {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}

// exchange sends p both ways.
func (g *nic) exchange(c *cable, p []byte, buffers int, size uint32) {
	g.t.Helper()
	rx, tx := g.Queues[0], g.Queues[1]
	g.stock(rx, buffers, size)
	if _, err := unix.Write(c.theirs[0], p); err != nil {
		g.t.Fatal(err)
	}
	if int(size)*buffers < len(p) {
		time.Sleep(time.Millisecond) // the device sleeps with a frame in hand
		g.stock(rx, len(p)/int(size)+1, size)
	}
	if got := g.receive(rx); !equal(got, p) {
		g.t.Fatalf("a frame of %d bytes arrived as %d others", len(p), len(got))
	}
	g.transmit(tx, p)
	got := make([]byte, MaxFrame)
	n, err := unix.Read(c.theirs[0], got)
	if err != nil || !equal(got[:n], p) {
		g.t.Fatalf("a frame of %d bytes left as %d others (%v)", len(p), n, err)
	}
}

func TestFrameForWhichThereCanBeNoRoom(t *testing.T) {
	for name, without := range map[string]virtio.Features{"mergeable": 0, "one each": featureMergeable} {
		t.Run(name, func(t *testing.T) {
			cable := newCable(t, 1)
			d := newDevice(t, cable)
			g := newNIC(t, d, virtiotest.Options{Size: 8}, without)
			r := rand.New(rand.NewSource(2))
			g.stock(g.Queues[0], 4, 1000) // 8 descriptors
			for i := range 20 {
				n := 100 + i
				if i%2 == 0 {
					n = 60000
				}
				p := frame(r, n)
				if _, err := unix.Write(cable.theirs[0], p); err != nil {
					t.Fatal(err)
				}
				if i%2 == 1 {
					if got := g.receive(g.Queues[0]); !equal(got, p) {
						t.Fatalf("a frame of %d bytes arrived as %d others", len(p), len(got))
					}
					g.stock(g.Queues[0], 4, 1000)
				}
			}
			if s := d.Stats(); s.RxFrames != 10 || s.RxDropped != 10 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestResetWhereverItSleeps(t *testing.T) {
	cable := newCable(t, 1)
	d := newDevice(t, cable)
	r := rand.New(rand.NewSource(3))
	for name, sleep := range map[string]func(g *nic){
		"for buffers": func(g *nic) {},
		"for a frame": func(g *nic) { g.stock(g.Queues[0], 100, 4096) },
		"with a frame and too few buffers": func(g *nic) {
			g.stock(g.Queues[0], 1, 4096)
			unix.Write(cable.theirs[0], frame(r, 9000))
		},
		"for room in the network": func(g *nic) {
			for range 100 {
				g.add(g.Queues[1], 10_000, frame(r, 10_000-HeaderSize))
			}
			g.Queues[1].Kick()
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newNIC(t, d, virtiotest.Options{}, 0)
			sleep(g)
			time.Sleep(5 * time.Millisecond)
			done := make(chan struct{})
			go func() { g.Reset(); close(done) }()
			select {
			case <-done:
			case <-time.After(virtiotest.Patience):
				t.Fatal("Reset does not return")
			}
			select {
			case err := <-g.Failed:
				t.Errorf("failed: %v", err)
			default:
			}
		})
	}
}

func TestCommands(t *testing.T) {
	cable := newCable(t, 4)
	d := newDevice(t, cable)
	g := newNIC(t, d, virtiotest.Options{}, 0)
	own := MAC{2, 0, 0, 0, 0, 1}
	want := Settings{Pairs: 1, Accept: Checksum | TSO4 | TSO6, Filter: Filter{All: true, Unicast: []MAC{own}}}
	expect := func() {
		t.Helper()
		select {
		case got := <-cable.applied:
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		default:
			t.Error("nothing was applied")
		}
	}
	do := func(ack, class, cmd byte, data ...byte) {
		t.Helper()
		if got := g.command(class, cmd, data...); got != ack {
			t.Errorf("command %d.%d of %d bytes: acknowledged with %d", class, cmd, len(data), got)
		}
	}
	expect() // at the start
	do(ackOK, 0, 0, 0)
	want.Filter.All = false
	expect()
	do(ackOK, 0, 1, 1)
	want.Filter.AllMulticast = true
	expect()
	do(ackOK, 1, 0, 1, 0, 0, 0, 4, 1, 1, 1, 1, 1, 2, 0, 0, 0, 5, 2, 2, 2, 2, 2, 5, 3, 3, 3, 3, 3)
	want.Filter.Unicast = []MAC{own, {4, 1, 1, 1, 1, 1}}
	want.Filter.Multicast = []MAC{{5, 2, 2, 2, 2, 2}, {5, 3, 3, 3, 3, 3}}
	expect()
	do(ackOK, 1, 1, 6, 6, 6, 6, 6, 6)
	want.Filter.Unicast = []MAC{{6, 6, 6, 6, 6, 6}, {4, 1, 1, 1, 1, 1}}
	expect()
	do(ackOK, 4, 0, 3, 0)
	want.Pairs = 3
	expect()
	do(ackOK, 5, 0, 1<<1, 0, 0, 0, 0, 0, 0, 0) // GUEST_CSUM only
	want.Accept = Checksum
	expect()
	for _, bad := range [][]byte{
		{0, 0}, {0, 0, 1, 1}, {0, 9, 1}, {1, 0, 1, 0, 0, 0}, {1, 0, 0, 0, 0, 0}, {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {1, 0, 0xff, 0xff, 0xff, 0xff, 1},
		{1, 1, 1, 0, 0, 0, 0, 0}, {1, 1, 2}, {2, 0, 1, 0}, {4, 0, 0, 0}, {4, 0, 5, 0}, {4, 0, 1}, {5, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0}, {5, 0}, {99, 99},
	} {
		do(ackErr, bad[0], bad[1], bad[2:]...)
	}
	do(ackOK, 1, 0, append([]byte{0, 0, 0, 0, 0xff, 0xff, 0, 0}, make([]byte, 6*0xffff)...)...)
	want.Filter.All = true // too many to remember
	expect()
	cable.broken.Store(true)
	do(ackErr, 0, 1, 0)
	want.Filter.AllMulticast = false
	expect()
	cable.broken.Store(false)
	do(ackOK, 4, 0, 1, 0)
	want.Pairs, want.Filter.AllMulticast = 1, true // as before the command that failed
	expect()
	if len(g.Queues[8].Do([]byte{0}, 1)) != 1 {
		t.Error("a command without a command is not acknowledged")
	}
	if len(cable.applied) > 0 {
		t.Error("a refused command was applied")
	}
}

func TestPairsInUse(t *testing.T) {
	cable := newCable(t, 3)
	g := newNIC(t, newDevice(t, cable), virtiotest.Options{}, 0)
	r := rand.New(rand.NewSource(4))
	check := func(pair int) {
		t.Helper()
		p := frame(r, 100)
		g.stock(g.Queues[2*pair], 50, 2048)
		if _, err := unix.Write(cable.theirs[pair], p); err != nil {
			t.Fatal(err)
		}
		if got := g.receive(g.Queues[2*pair]); !equal(got, p) {
			t.Errorf("pair %d received %d other bytes", pair, len(got))
		}
		g.transmit(g.Queues[2*pair+1], p)
		got := make([]byte, 200)
		if n, err := unix.Read(cable.theirs[pair], got); err != nil || !equal(got[:n], p) {
			t.Errorf("pair %d sent %d other bytes (%v)", pair, n, err)
		}
	}
	check(0)
	for _, n := range []byte{3, 1, 2, 3, 3} {
		if g.command(4, 0, n, 0) != ackOK {
			t.Fatalf("%d pairs were refused", n)
		}
		for i := range int(n) {
			check(i)
		}
	}
}

func TestControlQueueWithoutMultiqueue(t *testing.T) {
	g := newNIC(t, newDevice(t, newCable(t, 2)), virtiotest.Options{}, featureMultiqueue)
	if ack := g.Queues[2].Do([]byte{0, 0, 1}, 1); ack[0] != ackOK {
		t.Error("promiscuous mode was refused")
	}
	if ack := g.Queues[2].Do([]byte{4, 0, 2, 0}, 1); ack[0] != ackErr {
		t.Error("two pairs were taken without the feature")
	}
}

func TestCablePulled(t *testing.T) {
	cable := newCable(t, 1)
	d := newDevice(t, cable)
	g := newNIC(t, d, virtiotest.Options{}, 0)
	r := rand.New(rand.NewSource(5))
	d.SetLink(false)
	if s := binary.LittleEndian.Uint16(g.Config()[6:]); s != 0 || g.Changed.Load() != 1 {
		t.Errorf("status %d, %d changes", s, g.Changed.Load())
	}
	g.stock(g.Queues[0], 100, 4096)
	unix.Write(cable.theirs[0], frame(r, 100))
	g.transmit(g.Queues[1], frame(r, 100))
	for deadline := time.Now().Add(virtiotest.Patience); d.Stats().RxDropped != 1 || d.Stats().TxDropped != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", d.Stats())
		}
	}
	d.SetLink(true)
	d.SetLink(true)
	if s := binary.LittleEndian.Uint16(g.Config()[6:]); s != statusLinkUp || g.Changed.Load() != 2 {
		t.Errorf("status %d, %d changes", s, g.Changed.Load())
	}
	g.exchange(cable, frame(r, 100), 100, 4096)
}

func TestGuestBreaksTheRules(t *testing.T) {
	outside := []virtq.Span{{GPA: 1 << 40, Len: 2000}}
	for name, c := range map[string]struct {
		queue              int
		readable, writable []virtq.Span
	}{
		"receive outside RAM":  {0, nil, outside},
		"receive too little":   {0, nil, []virtq.Span{{GPA: 0, Len: HeaderSize - 1}}},
		"receive nothing":      {0, outside, nil},
		"transmit outside RAM": {1, outside, nil},
		"command outside RAM":  {2, outside, []virtq.Span{{GPA: 0, Len: 1}}},
		"command without ack":  {2, []virtq.Span{{GPA: 0, Len: 3}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := newNIC(t, newDevice(t, newCable(t, 1)), virtiotest.Options{}, 0)
			if _, ok := g.Queues[c.queue].Add(c.readable, c.writable); !ok {
				t.Fatal("the ring is full")
			}
			g.Queues[c.queue].Kick()
			g.WaitFailed()
		})
	}
}

func TestDriverSendsNonsense(t *testing.T) {
	cable := newCable(t, 1)
	d := newDevice(t, cable)
	g := newNIC(t, d, virtiotest.Options{}, 0)
	g.transmit(g.Queues[1], make([]byte, HeaderSize)) // no frame
	g.transmit(g.Queues[1], make([]byte, 2))          // not even a header
	g.transmit(g.Queues[1], make([]byte, 4<<20))      // larger than a socket takes
	if s := d.Stats(); s.TxDropped != 3 || s.TxFrames != 0 {
		t.Errorf("%+v", s)
	}
	g.exchange(cable, frame(rand.New(rand.NewSource(6)), 100), 100, 4096)
}

func TestNetworkGoesAway(t *testing.T) {
	cable := newCable(t, 1)
	g := newNIC(t, newDevice(t, cable), virtiotest.Options{}, 0)
	g.stock(g.Queues[0], 100, 4096)
	unix.Shutdown(cable.theirs[0], unix.SHUT_RDWR)
	if err := g.WaitFailed(); !errors.Is(err, unix.EPIPE) {
		t.Errorf("failed with %v", err)
	}
}

func TestNew(t *testing.T) {
	for _, c := range []Config{
		{Backend: newCable(t, 0)}, {Backend: newCable(t, maxPairs+1)}, {Backend: newCable(t, 1), MTU: 67}, {Backend: newCable(t, 1), MAC: MAC{1, 2, 3, 4, 5, 6}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("New(%+v) was taken", c)
		}
	}
	a, err := New(Config{Backend: newCable(t, 1), MTU: 1400})
	if err != nil {
		t.Fatal(err)
	}
	b := newDevice(t, newCable(t, 1))
	if a.MAC()[0]&3 != 2 || a.MAC() == b.MAC() {
		t.Errorf("random address %x", a.MAC())
	}
	p := make([]byte, configSize)
	a.ReadConfig(p)
	if got := fmt.Sprint(p[6:]); got != "[1 0 1 0 120 5]" || MAC(p) != a.MAC() {
		t.Errorf("configuration %x", p)
	}
	if f := a.Describe().Features; !f.Has(featureMTU|featureCsum|featureGuestCsum|1<<7|1<<11) || f&(featureMultiqueue|1<<10|1<<56) != 0 {
		t.Errorf("features %#x", f)
	}
}
