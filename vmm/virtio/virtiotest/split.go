package virtiotest

import (
	"splitvm/guest/layout"
	"splitvm/vmm/memory"
	"splitvm/vmm/virtio/virtq"
)

// splitRing is the driver's side of virtio 1.2, 2.7.
type splitRing struct {
	guest
	virtq.Config
	tables layout.GPA

	free    []uint16         // descriptors
	chains  map[int][]uint16 // descriptors by head
	added   uint16           // avail.idx
	kicked  uint16           // avail.idx at the last NeedsKick
	taken   uint16           // used entries taken
	enabled bool
}

func newSplitRing(g guest, c virtq.Config, tables layout.GPA) *splitRing {
	r := &splitRing{guest: g, Config: c, tables: tables, chains: map[int][]uint16{}, enabled: true}
	for i := range c.Size {
		r.free = append(r.free, c.Size-1-i)
	}
	return r
}

// flags of a descriptor: next 1, write 2, indirect 4.
func (r *splitRing) describe(at layout.GPA, s virtq.Span, flags, next uint16) {
	r.store64(at, uint64(s.GPA))
	r.store32(at+8, s.Len)
	r.store16(at+12, flags)
	r.store16(at+14, next)
}

func (r *splitRing) Add(readable, writable []virtq.Span) (int, bool) {
	spans := append(append([]virtq.Span(nil), readable...), writable...)
	need := len(spans)
	if r.Indirect {
		need = 1
	}
	if need > len(r.free) || need == 0 {
		return 0, false
	}
	ids := append([]uint16(nil), r.free[len(r.free)-need:]...)
	r.free = r.free[:len(r.free)-need]
	head := ids[0]
	r.chains[int(head)] = ids
	table, next := r.Desc, func(i int) uint16 { return ids[i+1] }
	place := func(i int) layout.GPA { return table + 16*layout.GPA(ids[i]) }
	if r.Indirect {
		table = r.tables + tableSize*layout.GPA(head)
		place = func(i int) layout.GPA { return table + 16*layout.GPA(i) }
		next = func(i int) uint16 { return uint16(i + 1) }
		r.describe(r.Desc+16*layout.GPA(head), virtq.Span{GPA: table, Len: 16 * uint32(len(spans))}, 4, 0)
	}
	for i, s := range spans {
		var flags, link uint16
		if i >= len(readable) {
			flags = 2
		}
		if i+1 < len(spans) {
			flags, link = flags|1, next(i)
		}
		r.describe(place(i), s, flags, link)
	}
	r.store16(r.Driver+4+2*layout.GPA(r.added%r.Size), head)
	r.added++
	r.store16(r.Driver+2, r.added)
	return int(head), true
}

func (r *splitRing) NeedsKick() bool {
	memory.Fence()
	old := r.kicked
	r.kicked = r.added
	if old == r.added {
		return false
	}
	if !r.EventIdx {
		return r.load16(r.Device)&1 == 0
	}
	event := r.load16(r.Device + 4 + 8*layout.GPA(r.Size))
	return r.added-event-1 < r.added-old
}

func (r *splitRing) Used() (int, uint32, bool) {
	if r.load16(r.Device+2) == r.taken {
		return 0, 0, false
	}
	at := r.Device + 4 + 8*layout.GPA(r.taken%r.Size)
	id, written := int(r.load32(at)), r.load32(at+4)
	ids, ok := r.chains[id]
	if !ok {
		r.t.Errorf("used ring has chain %d, which is not in flight", id)
		return id, written, true
	}
	delete(r.chains, id)
	r.free = append(r.free, ids...)
	r.taken++
	if r.enabled && r.EventIdx {
		r.store16(r.Driver+4+2*layout.GPA(r.Size), r.taken)
	}
	return id, written, true
}

func (r *splitRing) WantInterrupts(want bool) bool {
	r.enabled = want
	switch {
	case r.EventIdx && want:
		r.store16(r.Driver+4+2*layout.GPA(r.Size), r.taken)
	case r.EventIdx:
		// As Linux does: an event that has just passed.
		r.store16(r.Driver+4+2*layout.GPA(r.Size), r.taken-1)
	case want:
		r.store16(r.Driver, 0)
	default:
		r.store16(r.Driver, 1)
	}
	memory.Fence()
	return want && r.load16(r.Device+2) != r.taken
}
