package bare

import (
	"splitvm/guest/bare"
)

// Registers of virtio's common configuration (virtio 1.2, 4.1.4.3).
const (
	regDeviceSelect = 0
	regDeviceBits   = 4
	regDriverSelect = 8
	regDriverBits   = 12
	regVector       = 16
	regStatus       = 20
	regQueueSelect  = 22
	regQueueSize    = 24
	regQueueVector  = 26
	regQueueEnable  = 28
	regQueueDesc    = 32
	regQueueDriver  = 40
	regQueueDevice  = 48
)

// Places in a queue's stretch of memory.
const (
	queueStretch = 0x1_0000
	driverArea   = 0x2000
	deviceArea   = 0x4000
	indirectAt   = 0x6000
	buffersAt    = 0x8000
	maxQueues    = 8 // that are driven
)

func stretch(d *device, queue int) uint64 {
	return ringsAt + uint64(d.slot*maxQueues+queue)%96*queueStretch
}

// drive is a driver of sorts: it sets a device up, makes requests and lets it
// be, with mistakes at every step.
func (g *generator) drive(d *device) {
	if g.rings[ring{d.slot, 0}] == nil || g.one(2) {
		g.setUp(d)
	}
	for range 1 + g.IntN(8) {
		queue := pick(g, 0, 0, 1, 1, 1, 2, 3, 4, g.IntN(maxQueues))
		g.request(d, queue)
		if g.IntN(100) > g.wild {
			continue
		}
		switch g.IntN(4) {
		case 0:
			g.registerNoise(d)
		case 1:
			g.store(1, d.common+regStatus, pick[uint64](g, 0, 0, 0x80, 0xff, 4))
		case 2:
			g.store(2, d.ecam(4), uint64(g.IntN(8))) // master and memory off under way
			g.spin(g.IntN(2000))
			g.enable(d)
		}
	}
}

// setUp goes through the initialization of virtio 1.2, 3.1.1.
func (g *generator) setUp(d *device) {
	status := d.common + regStatus
	g.store(1, status, 0)
	g.spin(g.IntN(3000))
	g.load(1, status)
	g.store(1, status, 1)
	g.store(1, status, 3)
	for half := range uint64(2) {
		g.store(4, d.common+regDeviceSelect, half)
		g.store(4, d.common+regDriverSelect, half)
		g.load(4, d.common+regDeviceBits)
		var flip uint64
		switch {
		case g.IntN(100) < g.wild:
			flip = uint64(g.Uint32() & g.Uint32() & g.Uint32())
		case half == 1 && g.packed && g.one(2):
			flip = 1 << 2 // without packed rings
		}
		g.op(bare.Op{Kind: bare.OpStoreSeen, Width: 4, Count: 1, Address: d.common + regDriverBits, Value: flip})
	}
	g.store(1, status, 0xb)
	g.store(2, d.common+regVector, uint64(g.IntN(4)))
	for q := range pick(g, 2, 4, maxQueues, 1+g.IntN(maxQueues)) {
		g.setUpQueue(d, q)
	}
	g.store(1, status, 0xf)
	g.spin(g.IntN(3000))
}

func (g *generator) setUpQueue(d *device, queue int) {
	p := &progress{size: pick[uint64](g, 1, 2, 4, 8, 16, 16, 64, 64, 128, 256)}
	g.rings[ring{d.slot, queue}] = p
	at := stretch(d, queue)
	g.op(bare.Op{Kind: bare.OpZero, Count: 1, Address: at, Value: indirectAt - 1})
	g.store(2, d.common+regQueueSelect, uint64(queue))
	size := p.size
	if g.IntN(200) < g.wild {
		size = uint64(g.IntN(1 << 16))
	}
	g.store(2, d.common+regQueueSize, size)
	g.store(2, d.common+regQueueVector, uint64(g.IntN(4)))
	for i, reg := range []uint64{regQueueDesc, regQueueDriver, regQueueDevice} {
		area := at + []uint64{0, driverArea, deviceArea}[i]
		if g.IntN(200) < g.wild {
			area = g.address(d, queue)
		}
		g.store(pick(g, 8, 4), d.common+reg, area)
		g.store(4, d.common+reg+4, area>>32)
	}
	g.store(2, d.common+regQueueEnable, 1)
}

// address is a guest-physical address: a good one, or one that is not.
func (g *generator) address(d *device, queue int) uint64 {
	switch g.IntN(10) {
	case 0:
		return g.Uint64()
	case 1:
		return pick(g, 0, ramSize-1, ramSize-8, ramSize, ramSize-0x1000+uint64(g.IntN(0x2000)), ^uint64(0), ^uint64(0)-0xfff, 1<<63)
	case 2:
		return pick(g, d.common, d.notify, 0xfee00000, 0xe0000000)
	case 3:
		return stretch(d, queue) + uint64(g.IntN(queueStretch))
	case 4:
		return uint64(g.IntN(ramSize-ringsAt)) + ringsAt
	}
	return stretch(d, queue) + buffersAt + uint64(g.IntN(16))*0x200
}

func (g *generator) length() uint64 {
	return pick(g, 1, 4, 16, 16, 44, 512, 512, 4096, 8192, 65536, 0, uint64(g.IntN(1<<20)), 1<<31, 0xffffffff)
}

const (
	flagNext     = 1
	flagWrite    = 2
	flagIndirect = 4
)

// request puts some chains into a ring and rings the bell.
func (g *generator) request(d *device, queue int) {
	p := g.rings[ring{d.slot, queue}]
	if p == nil {
		p = &progress{size: 8}
	}
	at := stretch(d, queue)
	g.headers(at)
	for range 1 + g.IntN(3) {
		head := uint64(g.IntN(int(p.size)))
		if g.packed {
			head = p.avail % p.size
		}
		fill := g.sensible
		if g.IntN(100) < g.wild {
			fill = g.chain
		}
		n := fill(d, queue, p, at, head)
		if g.packed {
			p.avail += uint64(n)
			continue
		}
		if g.IntN(300) < g.wild {
			head = uint64(g.IntN(1 << 16))
		}
		g.store(2, at+driverArea+4+2*(p.avail%p.size), head)
		p.avail++
	}
	g.publish(at, p)
	g.store(pick(g, 2, 2, 2, 2, 1, 4, 8), d.notify+4*uint64(queue), pick(g, uint64(queue), uint64(g.Uint32())))
	g.spin(g.IntN(4000))
}

// publish tells the device how far the driver is, sometimes wrongly.
func (g *generator) publish(at uint64, p *progress) {
	if g.packed {
		g.store(4, at+driverArea, pick(g, 0, 0, uint64(g.Uint32())))
		return
	}
	if g.IntN(300) < g.wild {
		p.avail += uint64(g.IntN(1 << 16))
	}
	g.store(2, at+driverArea, pick[uint64](g, 0, 0, 0, 1, 0xffff))
	g.store(2, at+driverArea+4+2*p.size, pick(g, p.avail-1, uint64(g.IntN(1<<16)))) // used_event
	g.store(2, at+driverArea+2, p.avail)
}

// part is one descriptor of a sensible request.
type part struct {
	at, length uint64
	write      bool
}

// sensible writes a request that the device can do and returns the number of
// descriptors in the ring; now and then one of its numbers is not sensible.
func (g *generator) sensible(d *device, queue int, p *progress, at, head uint64) int {
	parts := g.parts(d, queue, at)
	table, first, size := at, head, p.size
	if g.one(6) {
		table, first, size = at+indirectAt, 0, uint64(len(parts))
	}
	for i, part := range parts {
		flags := uint64(0)
		if part.write {
			flags = flagWrite
		}
		if i < len(parts)-1 {
			flags |= flagNext
		}
		if g.IntN(1000) < g.wild {
			part.length = g.length()
		}
		if g.IntN(1000) < g.wild {
			part.at = g.address(d, queue)
		}
		slot := (first + uint64(i)) % size
		g.write(table, slot, part.at, part.length, flags, (slot+1)%size, p)
	}
	if table == at {
		return len(parts)
	}
	g.write(at, head, table, 16*size, flagIndirect, 0, p)
	return 1
}

// write writes one descriptor; split and packed rings have it at the same
// place, with other fields in the upper half. A packed one is available on the
// ring's present lap.
func (g *generator) write(table, i, address, length, flags, next uint64, p *progress) {
	at := table + 16*i
	g.store(8, at, address)
	upper := length | flags<<32 | next<<48
	if g.packed {
		lap := uint64(0x80)
		if p.avail/p.size%2 == 1 {
			lap = 0x8000
		}
		upper = length | next<<32 | (flags|lap)<<48
	}
	g.store(8, at+8, upper)
}

// chain writes descriptors from head on: some to read, some to write, the last
// one without a next, unless something is wrong with it. It returns how many.
func (g *generator) chain(d *device, queue int, p *progress, at, head uint64) int {
	n := 1 + g.IntN(5)
	readable := g.IntN(n + 1)
	for i := range n {
		var flags uint64
		if i >= readable {
			flags = flagWrite
		}
		slot := (head + uint64(i)) % p.size
		next := (slot + 1) % p.size
		if i < n-1 {
			flags |= flagNext
		}
		if g.one(10) {
			flags = uint64(g.IntN(8))
		}
		if g.one(20) {
			next = uint64(g.IntN(1 << 16))
		}
		if g.packed && g.one(20) {
			flags |= uint64(g.IntN(1 << 16))
		}
		g.write(at, slot, g.address(d, queue), g.length()&0xffffffff, flags, next, p)
		if flags&flagIndirect != 0 {
			g.indirect(d, queue, at, slot, p)
		}
	}
	return n
}

// indirect makes a descriptor point to a table, and fills that.
func (g *generator) indirect(d *device, queue int, at, slot uint64, p *progress) {
	n := uint64(1 + g.IntN(6))
	g.store(8, at+16*slot, at+indirectAt)
	g.store(4, at+16*slot+8, pick(g, 16*n, 16*n, 16*n, 16*n+uint64(g.IntN(17)), g.length()))
	for i := range n {
		flags := uint64(g.IntN(4))
		if g.one(10) {
			flags |= flagIndirect
		}
		g.write(at+indirectAt, i, g.address(d, queue), g.length(), flags, pick(g, i+1, i+1, i+1, uint64(g.IntN(8)), uint64(g.IntN(1<<16))), p)
	}
}

// headers fills some buffers with the beginnings of requests and packets.
func (g *generator) headers(at uint64) {
	for range g.IntN(4) {
		b := at + buffersAt + uint64(g.IntN(16))*0x200
		switch g.IntN(3) {
		case 0: // block: type, sector
			g.store(4, b, pick[uint64](g, 0, 1, 4, 8, 11, 13, uint64(g.IntN(32))))
			g.store(8, b+8, pick(g, uint64(g.IntN(16<<10)), g.Uint64()))
		case 1:
			g.packet(b)
		case 2:
			g.op(bare.Op{Kind: bare.OpStore, Count: 20, Address: b, AddressMask: 0x1ff, ValueMask: ^uint64(0)})
		}
	}
}
