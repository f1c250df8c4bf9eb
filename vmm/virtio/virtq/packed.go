package virtq

import (
	"fmt"

	"splitvm/vmm/memory"
)

// Flags of packed descriptors (virtio 1.2, 2.8.4) beside those of desc.go.
const (
	flagAvail = 1 << 7
	flagUsed  = 1 << 15
)

// Event suppression structures (virtio 1.2, 2.8.10): a 32-bit word of offset
// and wrap counter (low half) and flags (high half).
const (
	eventEnable  = 0
	eventDisable = 1
	eventDesc    = 2 // at the given descriptor; with the event index only
)

// position is a place in the ring and the wrap counter that goes with it.
type position struct {
	at   uint16
	wrap bool
}

func (p position) advance(n, size uint16) position {
	if sum := uint32(p.at) + uint32(n); sum >= uint32(size) {
		return position{at: uint16(sum - uint32(size)), wrap: !p.wrap}
	}
	return position{at: p.at + n, wrap: p.wrap}
}

// packed is a packed virtqueue (virtio 1.2, 2.8).
type packed struct {
	mem      *memory.Memory
	desc     memory.Window
	driver   memory.Window // read by the device
	device   memory.Window // written by the device
	size     uint16
	eventIdx bool
	indirect bool

	avail position // Pop's side: the next descriptor to be made available

	// Push's side.
	used     position // where the next used descriptor goes
	unsignal uint32   // ring entries used since the last needsInterrupt
}

func newPacked(m *memory.Memory, c Config) (*packed, error) {
	if c.Size == 0 || c.Size > MaxSize {
		return nil, fmt.Errorf("%w: a packed ring's size must be 1 to %d", ErrBroken, MaxSize)
	}
	start := position{wrap: true}
	p := &packed{mem: m, size: c.Size, eventIdx: c.EventIdx, indirect: c.Indirect, avail: start, used: start}
	var err error
	if p.desc, err = area(m, "descriptor ring", c.Desc, descSize*uint64(c.Size), 16); err != nil {
		return nil, err
	}
	if p.driver, err = area(m, "driver event suppression", c.Driver, 4, 4); err != nil {
		return nil, err
	}
	if p.device, err = area(m, "device event suppression", c.Device, 4, 4); err != nil {
		return nil, err
	}
	return p, nil
}

// word is the second half of a descriptor: length, buffer id, flags. One load
// or store moves it whole, so the flags never arrive before the rest.
func (p *packed) word(at uint16) (n uint32, id, flags uint16) {
	w := p.desc.Load64(descSize*uint64(at) + 8)
	return uint32(w), uint16(w >> 32), uint16(w >> 48)
}

func (p *packed) available() bool {
	_, _, flags := p.word(p.avail.at)
	return (flags&flagAvail != 0) == p.avail.wrap && (flags&flagUsed != 0) != p.avail.wrap
}

func (p *packed) pop(c *Chain) (bool, error) {
	if !p.available() {
		return false, nil
	}
	for at := p.avail; ; at = at.advance(1, p.size) {
		if c.slots == p.size {
			return false, fmt.Errorf("%w: a chain longer than the ring", ErrBroken)
		}
		c.slots++
		n, id, flags := p.word(at.at)
		addr := p.desc.Load64(descSize * uint64(at.at))
		var err error
		switch {
		case flags&flagIndirect == 0:
			err = c.add(addr, n, flags&flagWrite != 0)
		case c.slots > 1 || !p.indirect || flags&flagNext != 0: // 2.8.19
			err = fmt.Errorf("%w: indirect descriptor with flags %#x where none is allowed", ErrBroken, flags)
		default:
			err = p.walk(c, addr, n)
		}
		if err != nil {
			return false, err
		}
		if flags&flagNext == 0 {
			c.id = id // the list's last descriptor has the buffer id (2.8.6)
			p.avail = at.advance(1, p.size)
			return true, nil
		}
	}
}

// walk collects an indirect table: all its entries, in order, of whose flags
// only WRITE means anything (virtio 1.2, 2.8.7).
func (p *packed) walk(c *Chain, gpa uint64, n uint32) error {
	table, entries, err := indirectTable(p.mem, gpa, n)
	if err != nil {
		return err
	}
	for i := range uint64(entries) {
		addr, word := table.Load64(descSize*i), table.Load64(descSize*i+8)
		if err := c.add(addr, uint32(word), word>>48&flagWrite != 0); err != nil {
			return err
		}
	}
	return nil
}

func (p *packed) push(c *Chain, written uint32) {
	at, word := p.take(c, written)
	p.desc.Store64(at, word)
}

// pushBatch writes the first chain's descriptor last: the driver looks at the
// following ones only after that one is used.
func (p *packed) pushBatch(cs []*Chain, written []uint32) {
	if len(cs) == 0 {
		return
	}
	first, word := p.take(cs[0], written[0])
	for i, c := range cs[1:] {
		p.desc.Store64(p.take(c, written[i+1]))
	}
	p.desc.Store64(first, word)
}

// take advances past the descriptors of c and returns where its used
// descriptor goes, and the second half of that: id, length and flags.
func (p *packed) take(c *Chain, written uint32) (at, word uint64) {
	var flags uint64
	if p.used.wrap {
		flags = flagAvail | flagUsed
	}
	if written > 0 {
		flags |= flagWrite
	}
	at = descSize*uint64(p.used.at) + 8
	p.used = p.used.advance(c.slots, p.size)
	p.unsignal += uint32(c.slots)
	return at, flags<<48 | uint64(c.id)<<32 | uint64(written)
}

func (p *packed) disableKicks() { p.device.Store32(0, eventDisable<<16) }

func (p *packed) enableKicks() (bool, error) {
	word := uint32(eventEnable) << 16
	if p.eventIdx {
		word = eventDesc<<16 | uint32(p.avail.at)
		if p.avail.wrap {
			word |= 1 << 15
		}
	}
	p.device.Store32(0, word)
	memory.Fence()
	return p.available(), nil
}

func (p *packed) needsInterrupt() bool {
	n := p.unsignal
	if n == 0 {
		return false
	}
	p.unsignal = 0
	memory.Fence()
	word := p.driver.Load32(0)
	switch flags := word >> 16; {
	case flags == eventDisable:
		return false
	case flags != eventDesc || !p.eventIdx || n >= uint32(p.size):
		return true
	}
	event := uint16(word) & 0x7fff
	if (word&(1<<15) != 0) != p.used.wrap {
		event -= p.size
	}
	return p.used.at-event-1 < uint16(n)
}
