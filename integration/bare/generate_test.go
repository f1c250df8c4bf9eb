package bare

import (
	"math/rand/v2"

	"splitvm/guest/bare"
	"splitvm/guest/layout"
)

// generator makes the ops of one seed. The guest draws from the same seed what
// the ops leave open, so a seed is one and the same run, but for the timing of
// the devices.
type generator struct {
	*rand.Rand
	ops     []bare.Op
	devices []device
	packed  bool // rings are packed
	wild    int  // percentage of requests that are random
	mortal  bool // may do what ends or stops a guest: power off, reset, INIT, its own code
	rings   map[ring]*progress
}

type ring struct{ slot, queue int }

// progress is how far a driver is with a ring.
type progress struct {
	size  uint64
	avail uint64 // next index
}

func newGenerator(seed uint64, devices []device, packed bool) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), devices: devices, packed: packed, rings: map[ring]*progress{}}
	g.mortal, g.wild = g.one(8), pick(g, 1, 5, 20, 60)
	return g
}

// one is true once in n times.
func (g *generator) one(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

func (g *generator) device() *device { return &g.devices[g.IntN(len(g.devices))] }

// virtio is a device with a virtio configuration.
func (g *generator) virtio() *device {
	for {
		if d := g.device(); d.common != 0 {
			return d
		}
	}
}

func (g *generator) op(o bare.Op) { g.ops = append(g.ops, o) }

func (g *generator) store(width int, at, value uint64) {
	g.op(bare.Op{Kind: bare.OpStore, Width: uint8(width), Count: 1, Address: at, Value: value})
}

func (g *generator) load(width int, at uint64) {
	g.op(bare.Op{Kind: bare.OpLoad, Width: uint8(width), Count: 1, Address: at})
}

func (g *generator) out(width int, port, value uint64) {
	g.op(bare.Op{Kind: bare.OpOut, Width: uint8(width), Count: 1, Address: port, Value: value})
}

func (g *generator) spin(pauses int) {
	g.op(bare.Op{Kind: bare.OpSpin, Count: 1, Value: uint64(pauses)})
}

// any is an access of any width with random values, count times.
func (g *generator) any(kind bare.OpKind, at, mask uint64, count int) {
	g.op(bare.Op{Kind: kind, Count: uint32(count), Address: at, AddressMask: mask, ValueMask: ^uint64(0)})
}

// all is the whole list: drivers that do well and badly, with noise between.
func (g *generator) all() []bare.Op {
	for i := range g.devices {
		g.enable(&g.devices[i])
	}
	for range 10 + g.IntN(20) {
		g.act()
	}
	return g.ops
}

// act is one stretch of the list.
func (g *generator) act() {
	switch n := g.IntN(100); {
	case n < 45:
		g.drive(g.virtio())
	case n < 55:
		for range 1 + g.IntN(4) {
			g.portNoise()
		}
	case n < 65:
		g.memoryNoise()
	case n < 75:
		g.configNoise(g.device())
	case n < 80:
		g.moveBARs(g.device())
	case n < 90:
		g.interruptTable(g.device())
	default:
		g.registerNoise(g.virtio())
	}
}

// Ports with something behind them: port and mask.
var livePorts = [][2]uint64{
	{0xcf8, 7}, {0xcfc, 3}, {layout.PortCOM1, 7}, {layout.PortPM1aEvent, 3}, {layout.PortPMTimer, 3}, {layout.PortCMOS, 1},
	{0x20, 1}, {0xa0, 1}, {0x40, 3}, {0x61, 0}, {0x80, 0}, {0xed, 0}, {0x4d0, 1}, {0x60, 0},
}

// endPorts end the guest if the value is right.
var endPorts = [][2]uint64{{layout.PortPM1aControl, 1}, {layout.PortReset, 0}, {0x64, 0}, {bare.PortExit, 3}}

func (g *generator) portNoise() {
	port := pick(g, livePorts...)
	if g.mortal && g.one(4) {
		port = pick(g, endPorts...)
	}
	if g.one(4) {
		port = [2]uint64{0, 0xffff}
	}
	switch g.IntN(4) {
	case 0:
		g.any(bare.OpIn, port[0], port[1], 1+g.IntN(40))
	case 1:
		g.any(pick(g, bare.OpInString, bare.OpOutString), port[0], port[1], 1+g.IntN(2))
	default:
		g.any(bare.OpOut, port[0], port[1], 1+g.IntN(40))
		g.any(bare.OpIn, port[0], port[1], 1+g.IntN(5))
	}
}

// memoryNoise goes where devices, or nothing, may be.
func (g *generator) memoryNoise() {
	d := g.device()
	places := [][2]uint64{
		{uint64(layout.PCIWindowStart), layout.PCIWindowSize - 1},
		{uint64(layout.ECAMStart), layout.ECAMSize - 1},
		{0xe010_0000, 0xfffffff},
		{0xfef0_0000, 0x7ffff},
		{uint64(layout.IOAPICAddr), 0xff},
		{ramSize, 0x3fffffff}, // no RAM
		{ringsAt, ramSize - ringsAt - 16},
	}
	for i, at := range d.bars {
		if at != 0 {
			places = append(places, [2]uint64{at, d.sizes[i] - 1})
		}
	}
	p := pick(g, places...)
	if g.mortal && g.one(3) {
		p = pick(g, [2]uint64{0, ramSize - 1}, [2]uint64{uint64(layout.LAPICAddr), 0xff0}, [2]uint64{0, 0xffffffff})
	}
	kind := pick(g, bare.OpStore, bare.OpStore, bare.OpLoad, bare.OpLoad, bare.OpStoreSeen, bare.OpSwap, bare.OpVector, bare.OpCopy, bare.OpZero)
	count := 1 + g.IntN(30)
	if kind == bare.OpCopy || kind == bare.OpZero {
		count = 1
	}
	g.op(bare.Op{Kind: kind, Count: uint32(count), Address: p[0], AddressMask: p[1], ValueMask: ^uint64(0) >> 56 << (g.IntN(2) * 8)})
}

// enable lets a device decode memory and be master.
func (g *generator) enable(d *device) {
	if !g.one(20) {
		g.store(2, d.ecam(4), 6)
	}
	if d.msix != 0 && !g.one(4) {
		g.store(2, d.ecam(d.msix+2), 0x8000)
	}
}

// configNoise writes PCI registers, by both ways.
func (g *generator) configNoise(d *device) {
	reg := uint64(g.IntN(256))
	if d.msix != 0 && g.one(3) {
		reg = uint64(d.msix) + 2
	}
	if d.access != 0 && g.one(3) {
		g.throughAccess(d)
		return
	}
	if g.one(2) {
		g.out(4, 0xcf8, 1<<31|uint64(d.slot)<<11|reg&^3)
		g.any(pick(g, bare.OpOut, bare.OpIn, bare.OpOutSeen), 0xcfc, 3, 1+g.IntN(4))
		return
	}
	mask := pick[uint64](g, 0, 3, 0xfff)
	g.any(pick(g, bare.OpStore, bare.OpLoad, bare.OpSwap), d.ecam(0)+reg&^mask, mask, 1+g.IntN(10))
	if !g.one(3) {
		g.enable(d)
	}
}

// throughAccess uses virtio's window into the BAR in the configuration space.
func (g *generator) throughAccess(d *device) {
	at := d.access
	g.store(1, d.ecam(at+4), pick[uint64](g, 4, 4, 4, 1, 0, 0xff))
	g.store(4, d.ecam(at+8), pick(g, uint64(g.IntN(64)), uint64(g.IntN(0x4000)), uint64(g.Uint32())))
	g.store(4, d.ecam(at+12), pick[uint64](g, 1, 2, 4, 4, 8, 0, 0xffffffff))
	g.any(pick(g, bare.OpStore, bare.OpLoad), d.ecam(at+16), 3, 1+g.IntN(5))
}

// moveBARs puts a BAR somewhere else, mostly back afterwards.
func (g *generator) moveBARs(d *device) {
	i := g.IntN(6)
	to := pick(g, g.device().bars[g.IntN(6)], 0x10_0000, uint64(layout.ECAMStart), uint64(layout.LAPICAddr), 0xffffffff,
		uint64(layout.PCIWindowStart)+uint64(g.IntN(layout.PCIWindowSize)), uint64(g.Uint32()))
	g.store(4, d.ecam(regBAR0+4*i), to)
	if g.one(2) {
		g.store(2, d.ecam(4), uint64(g.IntN(8)))
	}
	if to < 0xfee0_0000 && to > ramSize {
		g.any(pick(g, bare.OpStore, bare.OpLoad), to&^0xfff, 0x3fff, 1+g.IntN(10))
	}
	if !g.one(4) {
		for i, at := range d.bars {
			if at != 0 {
				g.store(4, d.ecam(regBAR0+4*i), at)
			}
		}
		g.enable(d)
	}
}

// interruptTable writes MSI-X entries: sensible ones, and rubbish.
func (g *generator) interruptTable(d *device) {
	if d.msix == 0 || d.bars[1] == 0 {
		return
	}
	for range 1 + g.IntN(6) {
		entry := d.bars[1] + 16*uint64(g.IntN(d.vectors+1))
		if g.one(4) {
			g.any(pick(g, bare.OpStore, bare.OpLoad, bare.OpVector), d.bars[1], d.sizes[1]-1, 1+g.IntN(10))
			continue
		}
		g.store(4, entry, pick(g, 0xfee00000, 0xfee00000|uint64(g.IntN(1<<20)), uint64(g.Uint32())))
		g.store(4, entry+4, pick(g, 0, 0, 0, uint64(g.Uint32())))
		g.store(4, entry+8, pick(g, 0x30+uint64(g.IntN(200)), uint64(g.Uint32())))
		g.store(4, entry+12, uint64(g.IntN(2)))
	}
	g.store(2, d.ecam(d.msix+2), pick[uint64](g, 0x8000, 0x8000, 0xc000, 0, 0xffff))
}

// registerNoise writes a device's registers without order.
func (g *generator) registerNoise(d *device) {
	for range 1 + g.IntN(4) {
		switch g.IntN(4) {
		case 0:
			g.any(bare.OpStore, d.common, 63, 1+g.IntN(30))
		case 1:
			g.any(bare.OpLoad, d.common, 63, 1+g.IntN(10))
		case 2:
			g.any(pick(g, bare.OpStore, bare.OpLoad, bare.OpSwap), d.config, 0xfff, 1+g.IntN(20))
		case 3:
			g.any(bare.OpStore, d.notify, 0xfff, 1+g.IntN(20))
		}
	}
}
