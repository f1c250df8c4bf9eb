package virtiotest

import (
	"splitvm/guest/layout"
	"splitvm/vmm/memory"
	"splitvm/vmm/virtio/virtq"
)

// packedRing is the driver's side of virtio 1.2, 2.8.
type packedRing struct {
	guest
	virtq.Config
	tables layout.GPA

	ids    []uint16       // free buffer ids
	slots  map[int]uint16 // ring entries by buffer id
	room   uint16         // free ring entries
	next   uint16         // entry for the next descriptor
	wrap   bool           // the driver's wrap counter
	fresh  uint16         // entries added since the last NeedsKick
	taken  uint16         // entry of the next used descriptor
	uwrap  bool           // wrap counter that goes with taken
	events bool
}

func newPackedRing(g guest, c virtq.Config, tables layout.GPA) *packedRing {
	r := &packedRing{guest: g, Config: c, tables: tables, slots: map[int]uint16{}, room: c.Size, wrap: true, uwrap: true, events: true}
	for i := range c.Size {
		r.ids = append(r.ids, c.Size-1-i)
	}
	return r
}

func (r *packedRing) entry(i uint16) layout.GPA { return r.Desc + 16*layout.GPA(i) }

// availFlags mark a descriptor as available: AVAIL (bit 7) as the wrap
// counter, USED (bit 15) the other way.
func (r *packedRing) availFlags() uint16 {
	if r.wrap {
		return 1 << 7
	}
	return 1 << 15
}

func (r *packedRing) Add(readable, writable []virtq.Span) (int, bool) {
	spans := append(append([]virtq.Span(nil), readable...), writable...)
	need := uint16(len(spans))
	if r.Indirect {
		need = 1
	}
	if need == 0 || need > r.room || len(r.ids) == 0 {
		return 0, false
	}
	id := r.ids[len(r.ids)-1]
	r.ids = r.ids[:len(r.ids)-1]
	r.slots[int(id)] = need
	r.room -= need
	r.fresh += need
	if r.Indirect {
		r.addTable(id, spans, len(readable))
	} else {
		r.addList(id, spans, len(readable))
	}
	return int(id), true
}

func (r *packedRing) addTable(id uint16, spans []virtq.Span, readable int) {
	table := r.tables + tableSize*layout.GPA(id)
	for i, s := range spans {
		at := table + 16*layout.GPA(i)
		r.store64(at, uint64(s.GPA))
		r.store32(at+8, s.Len)
		r.store16(at+12, 0xdead) // reserved
		r.store16(at+14, writeFlag(i, readable))
	}
	at := r.entry(r.next)
	r.store64(at, uint64(table))
	r.store32(at+8, 16*uint32(len(spans)))
	r.store16(at+12, id)
	r.store16(at+14, 4|r.availFlags())
	r.step()
}

// addList writes the first descriptor's flags last (2.8.6).
func (r *packedRing) addList(id uint16, spans []virtq.Span, readable int) {
	first, firstFlags := r.entry(r.next), uint16(0)
	for i, s := range spans {
		at := r.entry(r.next)
		flags := writeFlag(i, readable) | r.availFlags()
		if i+1 < len(spans) {
			flags |= 1
		}
		r.store64(at, uint64(s.GPA))
		r.store32(at+8, s.Len)
		r.store16(at+12, id)
		if i == 0 {
			firstFlags = flags
		} else {
			r.store16(at+14, flags)
		}
		r.step()
	}
	r.store16(first+14, firstFlags)
}

func (r *packedRing) step() {
	if r.next++; r.next == r.Size {
		r.next, r.wrap = 0, !r.wrap
	}
}

func writeFlag(i, readable int) uint16 {
	if i >= readable {
		return 2
	}
	return 0
}

func (r *packedRing) NeedsKick() bool {
	memory.Fence()
	fresh := r.fresh
	r.fresh = 0
	if fresh == 0 {
		return false
	}
	word, flags := r.load16(r.Device), r.load16(r.Device+2)
	if flags != 2 {
		return flags == 0
	}
	event := word & 0x7fff
	if word>>15 == 1 != r.wrap {
		event -= r.Size
	}
	return r.next-event-1 < fresh
}

func (r *packedRing) usedAt() bool {
	flags := r.load16(r.entry(r.taken) + 14)
	avail, used := flags>>7&1 == 1, flags>>15 == 1
	return avail == used && used == r.uwrap
}

func (r *packedRing) Used() (int, uint32, bool) {
	if !r.usedAt() {
		return 0, 0, false
	}
	at := r.entry(r.taken)
	id, written := int(r.load16(at+12)), r.load32(at+8)
	n, ok := r.slots[id]
	if !ok {
		r.t.Errorf("used descriptor has buffer id %d, which is not in flight", id)
		return id, written, true
	}
	delete(r.slots, id)
	r.ids = append(r.ids, uint16(id))
	r.room += n
	if r.taken += n; r.taken >= r.Size {
		r.taken, r.uwrap = r.taken-r.Size, !r.uwrap
	}
	if r.events && r.EventIdx {
		r.askEvent()
	}
	return id, written, true
}

// askEvent asks for an interrupt when the next entry is used.
func (r *packedRing) askEvent() {
	word := r.taken
	if r.uwrap {
		word |= 1 << 15
	}
	r.store32(r.Driver, 2<<16|uint32(word))
}

func (r *packedRing) WantInterrupts(want bool) bool {
	r.events = want
	switch {
	case want && r.EventIdx:
		r.askEvent()
	case want:
		r.store32(r.Driver, 0)
	default:
		r.store32(r.Driver, 1<<16)
	}
	memory.Fence()
	return want && r.usedAt()
}
