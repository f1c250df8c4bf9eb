package bare

// Queues of a console with more than one port (virtio 1.2, 5.3.2).
const consoleControlOut = 3

// parts is what a driver of the device sends to the queue.
func (g *generator) parts(d *device, queue int, at uint64) []part {
	b := at + buffersAt
	switch {
	case d.virtio == 2: // block: type, sector; data; status
		kind := pick[uint64](g, 0, 0, 1, 1, 4, 8, 11, 13)
		g.store(8, b, kind)
		g.store(8, b+8, uint64(g.IntN(8192)))
		data := part{b + 0x200, pick[uint64](g, 512, 4096, 20, 16), kind == 0 || kind == 8}
		if kind >= 11 {
			g.store(8, data.at, uint64(g.IntN(8192)))
			g.store(8, data.at+8, uint64(g.IntN(64))|uint64(g.IntN(2))<<32)
			data.length = 16
		}
		if kind == 4 {
			return []part{{b, 16, false}, {b + 0x100, 1, true}}
		}
		return []part{{b, 16, false}, data, {b + 0x100, 1, true}}
	case d.virtio == 1 && queue == networkControl:
		return g.command(b)
	case d.virtio == 4 || queue%2 == 0: // something to fill
		return []part{{b, 64, true}, {b + 0x200, uint64(1 + g.IntN(0x7000)), true}}
	case d.virtio == 3 && queue == consoleControlOut:
		g.store(8, b, uint64(g.IntN(3))|uint64(g.IntN(9))<<32|uint64(g.IntN(2))<<48)
		return []part{{b, 8, false}}
	case d.virtio == 19:
		if n := g.packet(b); n > 0 {
			return []part{{b, 44, false}, {b + 0x200, n, false}}
		}
		return []part{{b, 44, false}}
	}
	g.store(8, b, pick(g, 0, 0, g.Uint64())) // network header: flags, type, sizes
	g.store(4, b+8, pick(g, 0, uint64(g.Uint32())))
	return []part{{b, 12, false}, {b + 0x200, uint64(14 + g.IntN(1600)), false}}
}

// Operations of a vsock packet (virtio 1.2, 5.10.6).
const (
	vsockRequest = 1
	vsockData    = 5
	vsockLast    = 7
)

// packet writes a vsock header and returns the length of what follows:
// addresses, ports, length, type, operation, flags, credit. Most are of a
// connection from one of few ports to the one that the host listens at.
func (g *generator) packet(b uint64) (length uint64) {
	op := pick[uint64](g, vsockRequest, vsockRequest, vsockData, vsockData, uint64(g.IntN(vsockLast+2)))
	if op == vsockData {
		length = uint64(1 + g.IntN(4096))
	}
	claimed := length
	if g.IntN(100) < g.wild {
		claimed = uint64(g.Uint32())
	}
	g.store(8, b, 3)
	g.store(8, b+8, pick(g, 2, 2, 2, 2, 2, 2, 2, g.Uint64()))
	g.store(8, b+16, pick(g, 1, 1, 1, uint64(g.IntN(4)))<<32|uint64(g.IntN(4)))
	g.store(8, b+24, claimed|pick[uint64](g, 1, 1, 1, 1, 1, 1, 1, 2)<<32|op<<48)
	g.store(8, b+32, pick(g, 0, uint64(g.IntN(4)))|pick(g, 64<<10, uint64(g.IntN(1<<20)))<<32)
	g.store(4, b+40, pick(g, 0, uint64(g.IntN(1<<20))))
	return length
}

// networkControl is the control queue of a device with two queue pairs.
const networkControl = 4

// command is a command to a network device: class and number, data, answer
// (virtio 1.2, 5.1.6.5).
func (g *generator) command(b uint64) []part {
	command := pick[uint64](g, 0<<0|0<<8, 0<<0|1<<8, 1<<0|0<<8, 1<<0|1<<8, 4<<0|0<<8, 5<<0|0<<8, uint64(g.IntN(1<<16)))
	g.store(2, b, command)
	length := pick[uint64](g, 1, 2, 6, 8)
	data := pick(g, uint64(g.IntN(4)), g.Uint64())
	if command == 1 { // two tables of addresses: a count, and as many times 6 bytes
		n := uint64(g.IntN(3))
		g.store(4, b+0x200, n)
		g.store(4, b+0x204+6*n, 0)
		length = 8 + 6*n
	} else {
		g.store(8, b+0x200, data)
	}
	return []part{{b, 2, false}, {b + 0x200, length, false}, {b + 0x100, 1, true}}
}
