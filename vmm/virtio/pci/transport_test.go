package pci_test

import (
	"bytes"
	"fmt"
	"testing"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

const ringFeatures = virtio.FeatureVersion1 | virtio.FeatureEventIdx | virtio.FeatureIndirectDesc

// TestIdentity is what a driver matches on (virtio 1.2, 4.1.2 and 4.1.4).
func TestIdentity(t *testing.T) {
	g := newGuest(t, &echo{queues: 2}, false)
	if id := g.config(0, 4); id != 0x1042_1af4 {
		t.Errorf("PCI id %#x", id)
	}
	if rev := g.config(8, 1); rev < 1 {
		t.Errorf("revision %d says that it is a legacy device", rev)
	}
	for name, at := range map[string]uint64{"common": g.common, "notify": g.notify, "isr": g.isr, "device": g.device} {
		if at == 0 {
			t.Errorf("no %s capability", name)
		}
	}
	if g.cfgAccess == 0 {
		t.Error("no access capability")
	}
	if n := g.load(g.common+numQueues, 2); n != 2 {
		t.Errorf("%d queues", n)
	}
}

func TestFeatures(t *testing.T) {
	for _, packed := range []bool{false, true} {
		g := newGuest(t, &echo{queues: 1}, packed)
		want := ringFeatures | echoFeature
		if packed {
			want |= virtio.FeatureRingPacked
		}
		if f := g.features(); f != want {
			t.Errorf("packed=%t: offered %#x, want %#x: the device may not add ring features of its own", packed, f, want)
		}
		g.store(g.common+deviceFeatureSelect, 4, 2)
		if f := g.load(g.common+deviceFeature, 4); f != 0 {
			t.Errorf("feature word 2 is %#x", f)
		}
	}
}

func TestNegotiation(t *testing.T) {
	g := newGuest(t, &echo{queues: 1}, false)
	for f, ok := range map[virtio.Features]bool{
		ringFeatures: true, virtio.FeatureVersion1: true, ringFeatures | echoFeature: true,
		echoFeature: false, 0: false, ringFeatures | 1: false, ringFeatures | virtio.FeatureRingPacked: false,
	} {
		if got := g.negotiate(f)&featuresOK != 0; got != ok {
			t.Errorf("features %#x: FEATURES_OK is %t", f, got)
		}
	}
	g.negotiate(virtio.FeatureVersion1)
	g.store(g.common+driverFeatureSelect, 4, 0)
	g.store(g.common+driverFeature, 4, echoFeature)
	if f := g.load(g.common+driverFeature, 4); f != 0 {
		t.Errorf("features accepted after FEATURES_OK: %#x", f)
	}
}

func TestEcho(t *testing.T) {
	for bits := range 8 {
		o := virtiotest.Options{Size: 16, Packed: bits&1 != 0, EventIdx: bits&2 != 0, Indirect: bits&4 != 0}
		t.Run(fmt.Sprint(o), func(t *testing.T) {
			g := newGuest(t, &echo{queues: 2}, o.Packed)
			f := virtio.FeatureVersion1
			for feature, on := range map[virtio.Features]bool{virtio.FeatureRingPacked: o.Packed, virtio.FeatureEventIdx: o.EventIdx, virtio.FeatureIndirectDesc: o.Indirect} {
				if on {
					f |= feature
				}
			}
			if g.negotiate(f)&featuresOK == 0 {
				t.Fatal("features refused")
			}
			ring := g.setUp(1, 0x10000, o) // and queue 0 stays off
			g.setStatus(acknowledge | driverBit | featuresOK | driverOK)
			for i := range 40 {
				g.echoOnce(ring, byte(i))
			}
			if n := g.sent.of(2); n == 0 {
				t.Error("no interrupt by the queue's vector")
			}
		})
	}
}

// echoOnce sends a request on queue 1 and checks the answer.
func (g *guest) echoOnce(ring virtiotest.Ring, b byte) {
	g.t.Helper()
	g.check(g.mem.WriteAt(bytes.Repeat([]byte{b}, 100), 0xe0000))
	before := g.sent.of(2)
	if _, ok := ring.Add([]virtq.Span{{GPA: 0xe0000, Len: 100}}, []virtq.Span{{GPA: 0xf0000, Len: 100}}); !ok {
		g.t.Fatal("ring is full")
	}
	if ring.NeedsKick() {
		g.kick(1)
	}
	g.await("interrupt", func() bool { return g.sent.of(2) > before })
	if _, n, ok := ring.Used(); !ok || n != 100 {
		g.t.Fatalf("Used() = %d, %t", n, ok)
	}
	got := make([]byte, 100)
	g.check(g.mem.ReadAt(got, 0xf0000))
	if got[0] != b || got[99] != b {
		g.t.Fatalf("answer is %d, sent %d", got[0], b)
	}
}

// begin brings an echo device up on queue 1.
func (g *guest) begin() virtiotest.Ring {
	g.t.Helper()
	g.negotiate(ringFeatures)
	ring := g.setUp(1, 0x10000, virtiotest.Options{Size: 16, EventIdx: true, Indirect: true})
	g.store(g.common+configVector, 2, 0)
	g.setStatus(acknowledge | driverBit | featuresOK | driverOK)
	return ring
}

func TestResetAndAgain(t *testing.T) {
	e := &echo{queues: 2}
	g := newGuest(t, e, false)
	for range 5 {
		g.echoOnce(g.begin(), 1)
		g.setStatus(0)
		g.await("status 0", func() bool { return g.status() == 0 })
		g.store(g.common+queueSelect, 2, 1)
		if g.load(g.common+queueEnable, 2) != 0 || g.load(g.common+queueDesc, 4) != 0 || g.load(g.common+queueVector, 2) != 0xffff {
			t.Fatal("queue keeps its setting over a reset")
		}
	}
	if e.resets != 5 {
		t.Errorf("device was reset %d times", e.resets)
	}
}

// TestSlowReset: the vCPU doesn't wait for a device that takes its time; the
// driver polls the status.
func TestSlowReset(t *testing.T) {
	e := &echo{queues: 2, hold: make(chan struct{})}
	g := newGuest(t, e, false)
	g.begin()
	g.setStatus(0)
	if g.status() == 0 {
		t.Fatal("reset is said to be complete while the device is at it")
	}
	g.setStatus(acknowledge)
	g.store(g.common+queueEnable, 2, 1)
	g.setStatus(0) // again, and still nothing to wait for
	close(e.hold)
	g.await("status 0", func() bool { return g.status() == 0 })
	e.mu.Lock()
	e.hold = nil
	e.mu.Unlock()
	g.echoOnce(g.begin(), 3)
}

func TestBrokenRingNeedsReset(t *testing.T) {
	g := newGuest(t, &echo{queues: 2}, false)
	ring := g.begin()
	g.check(g.mem.Store16(0x11000+2, 999)) // avail.idx
	g.kick(1)
	g.await("NEEDS_RESET", func() bool { return g.status()&needsReset != 0 })
	g.await("config change interrupt", func() bool { return g.sent.of(0) == 1 })
	if _, _, ok := ring.Used(); ok {
		t.Error("a chain was used")
	}
	g.echoOnce(g.begin(), 4)
}

func TestImpossibleSetups(t *testing.T) {
	for name, set := range map[string]func(g *guest){
		"outside RAM":      func(g *guest) { g.store(g.common+queueDesc, 4, 0xfffff000) },
		"not aligned":      func(g *guest) { g.store(g.common+queueDesc, 4, 0x10008) },
		"not a power of 2": func(g *guest) { g.store(g.common+queueSize, 2, 3) },
		"wraps":            func(g *guest) { g.store(g.common+queueDesc+8, 8, ^uint64(0)-15) },
		"no bus master":    func(g *guest) { g.config16(4, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, &echo{queues: 2}, false)
			g.negotiate(ringFeatures)
			g.store(g.common+queueSelect, 2, 1)
			g.store(g.common+queueDesc, 8, 0x10000)
			g.store(g.common+queueDesc+8, 8, 0x11000)
			g.store(g.common+queueDesc+16, 8, 0x12000)
			set(g)
			g.store(g.common+queueEnable, 2, 1)
			g.setStatus(acknowledge | driverBit | featuresOK | driverOK)
			if g.status()&needsReset == 0 {
				t.Error("the device took it")
			}
			g.config16(4, 2|4)
			g.echoOnce(g.begin(), 1)
		})
	}
}

func TestDriverOKWithoutFeatures(t *testing.T) {
	g := newGuest(t, &echo{queues: 1}, false)
	g.setStatus(acknowledge | driverBit | driverOK)
	if g.status()&needsReset == 0 {
		t.Error("DRIVER_OK without FEATURES_OK was accepted")
	}
}

func TestEnabledQueueIsFixed(t *testing.T) {
	g := newGuest(t, &echo{queues: 2}, false)
	g.negotiate(ringFeatures)
	g.setUp(1, 0x10000, virtiotest.Options{Size: 16})
	g.store(g.common+queueDesc, 4, 0x1234)
	g.store(g.common+queueSize, 2, 32)
	g.store(g.common+queueEnable, 2, 0)
	if a, n, on := g.load(g.common+queueDesc, 8), g.load(g.common+queueSize, 2), g.load(g.common+queueEnable, 2); a != 0x10000 || n != 16 || on != 1 {
		t.Errorf("enabled queue is now at %#x, size %d, enabled %d", a, n, on)
	}
}

func TestVectors(t *testing.T) {
	g := newGuest(t, &echo{queues: 2}, false)
	for v, want := range map[uint64]uint64{0: 0, 2: 2, 3: 0xffff, 0xffff: 0xffff} {
		g.store(g.common+configVector, 2, v)
		if got := g.load(g.common+configVector, 2); got != want {
			t.Errorf("config vector %#x reads back %#x, want %#x", v, got, want)
		}
	}
	g.store(g.common+queueSelect, 2, 2)
	g.store(g.common+queueVector, 2, 1)
	if got := g.load(g.common+queueVector, 2); got != 0 {
		t.Errorf("queue 2 of 2 has vector %d", got)
	}
	if got := g.load(g.common+queueSize, 2); got != 0 {
		t.Errorf("queue 2 of 2 has size %d", got)
	}
}

func TestISRWithoutVectors(t *testing.T) {
	e := &echo{queues: 2}
	g := newGuest(t, e, false)
	g.negotiate(ringFeatures)
	g.setUp(1, 0x10000, virtiotest.Options{Size: 16})
	g.store(g.common+queueVector, 2, 0xffff)
	g.setStatus(acknowledge | driverBit | featuresOK | driverOK)
	e.active.ConfigChanged()
	if v := g.load(g.isr, 1); v != 2 {
		t.Errorf("ISR is %d after a configuration change, want 2", v)
	}
	if v := g.load(g.isr, 1); v != 0 {
		t.Errorf("ISR is %d when read again", v)
	}
}

// TestConfigGeneration changes the configuration between the halves of a
// field, with and without a word to the transport.
func TestConfigGeneration(t *testing.T) {
	e := &echo{queues: 1}
	g := newGuest(t, e, false)
	e.WriteConfig(0, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	before := g.load(g.common+generation, 1)
	if v := g.load(g.device, 4); v != 0x04030201 {
		t.Fatalf("configuration reads %#x", v)
	}
	if g.load(g.common+generation, 1) != before {
		t.Error("generation changes by itself")
	}
	e.WriteConfig(4, []byte{9})
	g.load(g.device+4, 4)
	if g.load(g.common+generation, 1) == before {
		t.Error("generation is the same after a change")
	}
}

func TestConfigBounds(t *testing.T) {
	e := &echo{queues: 1}
	g := newGuest(t, e, false)
	g.store(g.device, 8, 0x1111111111111111)
	g.store(g.device+5, 4, 0xffffffff) // runs past the end
	g.store(g.device+8, 1, 0xff)
	if v := g.load(g.device, 8); v != 0x1111111111111111 {
		t.Errorf("configuration is %#x", v)
	}
	if v := g.load(g.device+6, 4); v != 0x1111 {
		t.Errorf("read across the end is %#x", v)
	}
}

// TestBusMasterOff: the device stops and stays stopped until it is reset.
func TestBusMasterOff(t *testing.T) {
	e := &echo{queues: 2}
	g := newGuest(t, e, false)
	ring := g.begin()
	g.config16(4, 2)
	if g.status()&needsReset == 0 {
		t.Error("status doesn't say that the device stopped")
	}
	g.transportIdle()
	g.config16(4, 2|4)
	ring.Add(nil, []virtq.Span{{GPA: 0xf0000, Len: 1}})
	g.kick(1)
	if e.resets != 1 || len(e.workers) != 0 {
		t.Error("the device runs on")
	}
	g.setStatus(0)
	g.await("status 0", func() bool { return g.status() == 0 })
	g.echoOnce(g.begin(), 1)
}

// transportIdle waits until a reset would be immediate.
func (g *guest) transportIdle() {
	g.await("stop", func() bool { return !g.transport.Stopping() })
}

func TestAccessCapability(t *testing.T) {
	e := &echo{queues: 2}
	g := newGuest(t, e, false)
	access := func(offset uint64, width uint64) {
		g.store(g.ecam(g.cfgAccess+4), 1, 4)
		g.store(g.ecam(g.cfgAccess+8), 4, offset)
		g.store(g.ecam(g.cfgAccess+12), 4, width)
	}
	access(numQueues, 2)
	if v := g.config(g.cfgAccess+16, 2); v != 2 {
		t.Errorf("num_queues by the access capability is %d", v)
	}
	access(deviceStatus, 1)
	g.store(g.ecam(g.cfgAccess+16), 1, acknowledge)
	if g.status() != acknowledge {
		t.Errorf("status is %#x, written by the access capability", g.status())
	}
	for _, bad := range [][2]uint64{{0, 0}, {0, 3}, {1, 2}, {0x4000, 4}, {0xfffffffe, 4}, {0xffffffff, 1}} {
		access(bad[0], bad[1])
		g.config(g.cfgAccess+16, 4)
		g.store(g.ecam(g.cfgAccess+16), 4, 0xffffffff)
	}
	if g.status() != acknowledge {
		t.Errorf("status is %#x after accesses that are not allowed", g.status())
	}
}

func TestCloseWhileRunning(t *testing.T) {
	e := &echo{queues: 2}
	g := newGuest(t, e, false)
	g.begin()
	g.close()
	if e.resets != 1 || g.sent.open != 0 {
		t.Errorf("after Close: %d resets, %d messages open", e.resets, g.sent.open)
	}
}
