// Package virtiotest is the guest's side of virtio for tests: drivers of split
// and packed rings in guest RAM, and a harness that activates a device without
// a transport and sends it requests.
//
// It is a reference written from the specification, apart from package virtq,
// whose constants and code it doesn't use. It is simple rather than fast, and
// lays its rings and buffers out itself, in RAM that starts at address 0.
package virtiotest

import (
	"testing"

	"splitvm/guest/layout"
	"splitvm/vmm/memory"
	"splitvm/vmm/virtio/virtq"
)

// RAM is size bytes of guest memory at address 0, gone after the test.
func RAM(t testing.TB, size uint64) *memory.Memory {
	t.Helper()
	m, err := memory.NewLocal([]layout.Range{{Start: 0, Size: size}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// Ring is a driver's side of a virtqueue. It is used by one goroutine.
type Ring interface {
	// Add makes a chain available: readable spans, then writable ones. It
	// returns the id that Used will give back; false if the ring is full.
	Add(readable, writable []virtq.Span) (id int, ok bool)
	// NeedsKick tells whether the device wants a notification for what was
	// added since the last call.
	NeedsKick() bool
	// Used takes back a chain; false if there is none.
	Used() (id int, written uint32, ok bool)
	// WantInterrupts asks the device for interrupts or tells it that none are
	// needed. When asked for, true means that a used chain is there already.
	WantInterrupts(want bool) bool
}

// Options of a Ring.
type Options struct {
	Size     uint16
	Packed   bool
	EventIdx bool
	Indirect bool // put every chain into an indirect table
}

// Footprint is how many bytes of RAM a ring takes from its base on.
func (o Options) Footprint() uint64 {
	n := uint64(o.Size)
	perChain := uint64(0)
	if o.Indirect {
		perChain = tableSize
	}
	return round(16*n) + round(6+2*n) + round(6+8*n) + n*perChain
}

const (
	page      = 4096
	tableSize = page // bytes of an indirect table
)

func round(n uint64) uint64 { return (n + page - 1) &^ (page - 1) }

// NewRing lays a ring out at base, which is page-aligned, and returns the
// driver and what to tell the device.
func NewRing(t testing.TB, m *memory.Memory, base layout.GPA, o Options) (Ring, virtq.Config) {
	t.Helper()
	n := uint64(o.Size)
	c := virtq.Config{Size: o.Size, Packed: o.Packed, EventIdx: o.EventIdx, Indirect: o.Indirect}
	c.Desc = base
	c.Driver = c.Desc + layout.GPA(round(16*n))
	c.Device = c.Driver + layout.GPA(round(6+2*n))
	tables := c.Device + layout.GPA(round(6+8*n))
	if err := m.WriteAt(make([]byte, o.Footprint()), base); err != nil {
		t.Fatal(err)
	}
	g := guest{t, m}
	if o.Packed {
		return newPackedRing(g, c, tables), c
	}
	return newSplitRing(g, c, tables), c
}

// guest accesses RAM as a guest would; a failure ends the test.
type guest struct {
	t testing.TB
	m *memory.Memory
}

func (g guest) load16(a layout.GPA) uint16 {
	v, err := g.m.Load16(a)
	g.check(err)
	return v
}

func (g guest) load32(a layout.GPA) uint32 {
	v, err := g.m.Load32(a)
	g.check(err)
	return v
}

func (g guest) store16(a layout.GPA, v uint16) { g.check(g.m.Store16(a, v)) }
func (g guest) store32(a layout.GPA, v uint32) { g.check(g.m.Store32(a, v)) }
func (g guest) store64(a layout.GPA, v uint64) { g.check(g.m.Store64(a, v)) }

func (g guest) check(err error) {
	if err != nil {
		g.t.Helper()
		g.t.Fatal(err)
	}
}
