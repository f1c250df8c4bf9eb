package pci_test

import (
	"encoding/binary"
	"runtime"
	"sync"
	"testing"
	"time"

	"splitvm/guest/layout"
	"splitvm/vmm/bus"
	"splitvm/vmm/memory"
	"splitvm/vmm/pci"
	"splitvm/vmm/virtio"
	virtiopci "splitvm/vmm/virtio/pci"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// Common configuration registers (virtio 1.2, 4.1.4.3).
const (
	deviceFeatureSelect = 0x00
	deviceFeature       = 0x04
	driverFeatureSelect = 0x08
	driverFeature       = 0x0c
	configVector        = 0x10
	numQueues           = 0x12
	deviceStatus        = 0x14
	generation          = 0x15
	queueSelect         = 0x16
	queueSize           = 0x18
	queueVector         = 0x1a
	queueEnable         = 0x1c
	queueNotifyOff      = 0x1e
	queueDesc           = 0x20

	acknowledge = 1
	driverBit   = 2
	driverOK    = 4
	featuresOK  = 8
	needsReset  = 64
)

// guest is a machine with one device and what a guest's driver has found out
// about it from the configuration space alone.
type guest struct {
	t         testing.TB
	mem       *memory.Memory
	mmio      bus.Bus
	host      *pci.Host
	transport *virtiopci.Transport
	slot      int
	sent      signals
	closed    bool

	common, isr, device, notify uint64 // addresses
	notifyStep                  uint64
	cfgAccess                   int // offset of the access capability
}

func newGuest(t testing.TB, dev virtio.Device, packed bool) *guest {
	t.Helper()
	g := &guest{t: t, mem: virtiotest.RAM(t, 1<<20)}
	g.check(g.plug(dev, packed))
	t.Cleanup(g.close)
	g.config16(4, 2|4)
	g.discover()
	return g
}

func (g *guest) plug(dev virtio.Device, packed bool) (err error) {
	window := layout.Range{Start: layout.PCIWindowStart, Size: layout.PCIWindowSize}
	if g.host, err = pci.NewHost(pci.Config{MMIO: &g.mmio, Windows: []layout.Range{window}}); err != nil {
		return err
	}
	if err := g.mmio.Add(uint64(layout.ECAMStart), layout.ECAMSize, g.host.ECAM()); err != nil {
		return err
	}
	if g.transport, err = virtiopci.New(dev, virtiopci.Config{Memory: g.mem, Messages: &g.sent, Packed: packed}); err != nil {
		return err
	}
	g.slot, err = g.host.Plug(g.transport.Function())
	return err
}

func (g *guest) close() {
	if !g.closed {
		g.closed = true
		g.host.Close()
		g.transport.Close()
	}
}

func (g *guest) check(err error) {
	if err != nil {
		g.t.Helper()
		g.t.Fatal(err)
	}
}

func (g *guest) load(at uint64, width int) uint64 {
	p := make([]byte, 8)
	g.mmio.Read(at, p[:width])
	return binary.LittleEndian.Uint64(p)
}

func (g *guest) store(at uint64, width int, v uint64) {
	g.mmio.Write(at, binary.LittleEndian.AppendUint64(nil, v)[:width])
}

func (g *guest) ecam(reg int) uint64 {
	return uint64(layout.ECAMStart) + uint64(g.slot)<<15 + uint64(reg)
}
func (g *guest) config(reg, width int) uint64 { return g.load(g.ecam(reg), width) }
func (g *guest) config16(reg int, v uint64)   { g.store(g.ecam(reg), 2, v) }

func (g *guest) bar(i int) uint64 { return g.config(0x10+4*i, 4) &^ 0xf }

// discover walks the capabilities as virtio 1.2, 4.1.4 says.
func (g *guest) discover() {
	for at := int(g.config(0x34, 1)); at != 0; at = int(g.config(at+1, 1)) {
		switch g.config(at, 1) {
		case 0x11: // MSI-X: one message per vector i, data i
			table := g.bar(int(g.config(at+4, 4) & 7))
			for i := range g.config(at+2, 2)&0x7ff + 1 {
				g.store(table+16*i, 4, 0xfee00000)
				g.store(table+16*i+8, 4, i)
				g.store(table+16*i+12, 4, 0)
			}
			g.config16(at+2, 1<<15)
		case 9:
			where := g.bar(int(g.config(at+4, 1))) + g.config(at+8, 4)
			switch g.config(at+3, 1) {
			case 1:
				g.common = where
			case 2:
				g.notify, g.notifyStep = where, g.config(at+16, 4)
			case 3:
				g.isr = where
			case 4:
				g.device = where
			case 5:
				g.cfgAccess = at
			}
		}
	}
}

func (g *guest) features() virtio.Features {
	g.store(g.common+deviceFeatureSelect, 4, 0)
	f := g.load(g.common+deviceFeature, 4)
	g.store(g.common+deviceFeatureSelect, 4, 1)
	return virtio.Features(f | g.load(g.common+deviceFeature, 4)<<32)
}

// negotiate goes up to FEATURES_OK and returns the status then.
func (g *guest) negotiate(f virtio.Features) uint64 {
	g.setStatus(0)
	g.await("status 0", func() bool { return g.status() == 0 }) // 4.1.4.3.2
	g.setStatus(acknowledge)
	g.setStatus(acknowledge | driverBit)
	g.store(g.common+driverFeatureSelect, 4, 0)
	g.store(g.common+driverFeature, 4, uint64(f)&0xffffffff)
	g.store(g.common+driverFeatureSelect, 4, 1)
	g.store(g.common+driverFeature, 4, uint64(f)>>32)
	g.setStatus(acknowledge | driverBit | featuresOK)
	return g.status()
}

func (g *guest) status() uint64     { return g.load(g.common+deviceStatus, 1) }
func (g *guest) setStatus(v uint64) { g.store(g.common+deviceStatus, 1, v) }

// setUp tells the device of a ring and returns its driver. Vector 1+i is
// queue i's.
func (g *guest) setUp(i int, base layout.GPA, o virtiotest.Options) virtiotest.Ring {
	g.t.Helper()
	g.store(g.common+queueSelect, 2, uint64(i))
	ring, c := virtiotest.NewRing(g.t, g.mem, base, o)
	g.store(g.common+queueSize, 2, uint64(o.Size))
	g.store(g.common+queueVector, 2, uint64(i+1))
	if v := g.load(g.common+queueVector, 2); v != uint64(i+1) {
		g.t.Fatalf("queue %d got vector %#x", i, v)
	}
	for k, area := range []layout.GPA{c.Desc, c.Driver, c.Device} {
		g.store(g.common+queueDesc+8*uint64(k), 4, uint64(area)&0xffffffff)
		g.store(g.common+queueDesc+8*uint64(k)+4, 4, uint64(area)>>32)
	}
	g.store(g.common+queueEnable, 2, 1)
	return ring
}

func (g *guest) kick(i int) {
	g.store(g.common+queueSelect, 2, uint64(i))
	g.store(g.notify+g.load(g.common+queueNotifyOff, 2)*g.notifyStep, 2, uint64(i))
}

// await waits until condition holds, which a device brings about; at first
// without sleep, as it takes microseconds and fuzzing does little else.
func (g *guest) await(what string, condition func() bool) {
	g.t.Helper()
	deadline := time.Now().Add(virtiotest.Patience)
	for looks := 0; !condition(); looks++ {
		if looks < 1000 {
			runtime.Gosched()
			continue
		}
		time.Sleep(time.Millisecond)
		if time.Now().After(deadline) {
			g.t.Fatalf("%s: not within %v", what, virtiotest.Patience)
		}
	}
}

// signals counts interrupts by MSI data, which the guest sets to the vector.
type signals struct {
	mu    sync.Mutex
	count map[uint32]int
	open  int
}

type signal struct {
	to   *signals
	data uint32
}

func (s *signals) NewMessage() (pci.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return &signal{to: s}, nil
}

func (s *signals) of(vector uint32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[vector]
}

func (m *signal) Route(_ uint64, data uint32) error { m.data = data; return nil }

func (m *signal) Signal() {
	m.to.mu.Lock()
	defer m.to.mu.Unlock()
	if m.to.count == nil {
		m.to.count = map[uint32]int{}
	}
	m.to.count[m.data]++
}

func (m *signal) Close() error {
	m.to.mu.Lock()
	defer m.to.mu.Unlock()
	m.to.open--
	return nil
}

// echo is a device that copies what it reads to what it writes: by system
// calls, as devices do. It has a configuration that a test can change.
type echo struct {
	queues int

	mu     sync.Mutex
	config [8]byte
	hold   chan struct{} // Reset waits until it is closed, if set

	active  virtio.Activation
	workers []*virtio.Worker
	resets  int
}

const echoFeature = 1 << 5

func (e *echo) Describe() virtio.Description {
	d := virtio.Description{ID: virtio.IDBlock, Features: echoFeature | virtio.FeatureRingPacked, ConfigSize: len(e.config)}
	for range e.queues {
		d.Queues = append(d.Queues, 64)
	}
	return d
}

func (e *echo) ReadConfig(p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	copy(p, e.config[:])
}

func (e *echo) WriteConfig(off int, p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	copy(e.config[off:], p)
}

func (e *echo) Activate(a virtio.Activation) error {
	e.active = a
	for _, q := range a.Queues {
		if q != nil {
			e.workers = append(e.workers, virtio.StartWorker(q, func() error { return e.serve(a.Memory, q) }, a.Fail))
		}
	}
	return nil
}

func (e *echo) serve(m *memory.Memory, q *virtio.Queue) error {
	var c virtq.Chain
	for {
		ok, err := q.Pop(&c)
		if !ok || err != nil {
			return err
		}
		var n uint32
		for i, s := range c.Readable {
			b := make([]byte, s.Len)
			if err := m.ReadAt(b, s.GPA); err != nil {
				return err
			}
			if err := m.WriteAt(b, c.Writable[i].GPA); err != nil {
				return err
			}
			n += s.Len
		}
		q.Push(&c, n)
		q.Notify()
	}
}

func (e *echo) Reset() {
	e.mu.Lock()
	hold := e.hold
	e.mu.Unlock()
	if hold != nil {
		<-hold
	}
	for _, w := range e.workers {
		w.Stop()
	}
	e.workers = nil
	e.resets++
}
