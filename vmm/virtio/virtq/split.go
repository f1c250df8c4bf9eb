package virtq

import (
	"fmt"

	"splitvm/vmm/memory"
)

const (
	availNoInterrupt = 1 // avail.flags, virtio 1.2, 2.7.6
	usedNoNotify     = 1 // used.flags, 2.7.8
)

// Offsets in the available and the used ring, which both begin with flags and
// idx; their event words follow the ring.
const (
	ringFlags = 0
	ringIdx   = 2
	ringStart = 4
	usedElem  = 8 // bytes of an element of the used ring: id, len
)

// split is a split virtqueue (virtio 1.2, 2.7).
type split struct {
	mem               *memory.Memory
	desc, avail, used memory.Window
	size              uint16
	eventIdx          bool
	indirect          bool

	// Pop's side. All indices run freely modulo 2^16.
	next uint16 // of the available ring, to be popped next
	seen uint16 // avail.idx when last read

	// Push's side.
	pushed   uint16 // what used.idx says
	unsignal uint32 // pushes since the last needsInterrupt
}

func newSplit(m *memory.Memory, c Config) (*split, error) {
	if c.Size == 0 || c.Size > MaxSize || c.Size&(c.Size-1) != 0 {
		return nil, fmt.Errorf("%w: a split ring's size must be a power of two up to %d", ErrBroken, MaxSize)
	}
	s := &split{mem: m, size: c.Size, eventIdx: c.EventIdx, indirect: c.Indirect}
	n := uint64(c.Size)
	var err error
	if s.desc, err = area(m, "descriptor table", c.Desc, descSize*n, 16); err != nil {
		return nil, err
	}
	if s.avail, err = area(m, "available ring", c.Driver, ringStart+2*n+2, 2); err != nil {
		return nil, err
	}
	if s.used, err = area(m, "used ring", c.Device, ringStart+usedElem*n+2, 4); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *split) pop(c *Chain) (bool, error) {
	if s.next == s.seen {
		if more, err := s.look(); !more || err != nil {
			return false, err
		}
	}
	head := s.avail.Load16(ringStart + 2*uint64(s.next&(s.size-1)))
	s.next++
	c.id = head
	return true, s.walk(c, head)
}

// look reads avail.idx; true if there is something to pop.
func (s *split) look() (bool, error) {
	s.seen = s.avail.Load16(ringIdx)
	if n := s.seen - s.next; n > s.size {
		return false, fmt.Errorf("%w: %d chains available in a ring of %d", ErrBroken, n, s.size)
	}
	return s.seen != s.next, nil
}

// walk collects the chain from descriptor head on. Zero or more descriptors
// may come before one that points to an indirect table, which ends the chain
// (virtio 1.2, 2.7.5.3.2).
func (s *split) walk(c *Chain, head uint16) error {
	table, entries, inTable := s.desc, int(s.size), false
	i := int(head)
	for left := entries; ; left-- {
		if i >= entries {
			return fmt.Errorf("%w: descriptor %d of %d", ErrBroken, i, entries)
		}
		if left == 0 {
			return fmt.Errorf("%w: a loop of descriptors", ErrBroken)
		}
		addr, word := table.Load64(descSize*uint64(i)), table.Load64(descSize*uint64(i)+8)
		n, flags := uint32(word), uint16(word>>32)
		switch {
		case flags&flagIndirect == 0:
			if err := c.add(addr, n, flags&flagWrite != 0); err != nil {
				return err
			}
			if flags&flagNext == 0 {
				return nil
			}
			i = int(word >> 48)
		case inTable || !s.indirect || flags&flagNext != 0:
			return fmt.Errorf("%w: indirect descriptor with flags %#x where none is allowed", ErrBroken, flags)
		default:
			var err error
			if table, entries, err = indirectTable(s.mem, addr, n); err != nil {
				return err
			}
			i, inTable, left = 0, true, entries+1
		}
	}
}

func (s *split) push(c *Chain, written uint32) {
	s.put(c, written)
	s.used.Store16(ringIdx, s.pushed)
}

func (s *split) pushBatch(cs []*Chain, written []uint32) {
	for i, c := range cs {
		s.put(c, written[i])
	}
	s.used.Store16(ringIdx, s.pushed)
}

// put writes a used element that the driver does not look at until used.idx
// covers it.
func (s *split) put(c *Chain, written uint32) {
	at := ringStart + usedElem*uint64(s.pushed&(s.size-1))
	s.used.Store32(at, uint32(c.id))
	s.used.Store32(at+4, written)
	s.pushed++
	s.unsignal++
}

// disableKicks leaves avail_event behind where the event index is in use: the
// driver notifies once at most until enableKicks moves it.
func (s *split) disableKicks() {
	if !s.eventIdx {
		s.used.Store16(ringFlags, usedNoNotify)
	}
}

func (s *split) enableKicks() (bool, error) {
	if s.eventIdx {
		s.used.Store16(ringStart+usedElem*uint64(s.size), s.next)
	} else {
		s.used.Store16(ringFlags, 0)
	}
	memory.Fence()
	return s.look()
}

func (s *split) needsInterrupt() bool {
	n := s.unsignal
	if n == 0 {
		return false
	}
	s.unsignal = 0
	memory.Fence()
	if !s.eventIdx {
		return s.avail.Load16(ringFlags)&availNoInterrupt == 0
	}
	event := s.avail.Load16(ringStart + 2*uint64(s.size))
	return n > 0xffff || s.pushed-event-1 < uint16(n)
}
