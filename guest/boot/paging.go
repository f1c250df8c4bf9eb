package boot

import (
	"encoding/binary"
	"fmt"

	"splitvm/guest/layout"
)

// Page-table entry bits (Intel SDM vol. 3, table 4-15 and on). Accessed and
// dirty are set beforehand: a processor then never writes to the tables.
const (
	pteTable = 0x23        // present, writable, accessed
	pteUser  = 0x04        // ring 3 may use it
	pteLeaf  = 0x63 | 0x80 // present, writable, accessed, dirty, large page

	entriesPerTable = layout.PageSize / 8
)

// identity is a set of page tables that map addresses to themselves.
type identity struct {
	base layout.GPA // where the tables lie: PML4 first
	end  layout.GPA // first address that is not mapped
	user bool       // for ring 3
	huge bool       // 1 GiB pages instead of 2 MiB: the processor must have them
}

// pages is the number of pages that the tables take.
func (t identity) pages() uint64 {
	gib := t.gib()
	n := 1 + (gib+entriesPerTable-1)/entriesPerTable
	if !t.huge {
		n += gib
	}
	return n
}

func (t identity) gib() uint64 { return (uint64(t.end) + layout.Page1G - 1) / layout.Page1G }

// segment builds the tables: PML4, then the PDPTs, then the page directories.
func (t identity) segment() Segment {
	b := make([]byte, t.pages()*layout.PageSize)
	var flags uint64
	if t.user {
		flags = pteUser
	}
	put := func(i uint64, v uint64) { binary.LittleEndian.PutUint64(b[i*8:], v|flags) }
	table := func(page uint64) uint64 { return (uint64(t.base) + page*layout.PageSize) | pteTable }

	gib := t.gib()
	pdpts := (gib + entriesPerTable - 1) / entriesPerTable
	for i := range pdpts {
		put(i, table(1+i))
	}
	for i := range gib {
		if t.huge {
			put(entriesPerTable+i, i*layout.Page1G|pteLeaf)
			continue
		}
		put(entriesPerTable+i, table(1+pdpts+i))
		for j := range uint64(entriesPerTable) {
			put((1+pdpts+i)*entriesPerTable+j, i*layout.Page1G+j*layout.Page2M|pteLeaf)
		}
	}
	return bytesAt("page tables", t.base, b)
}

func (t identity) String() string {
	return fmt.Sprintf("identity map to %#x in %d pages at %#x", t.end, t.pages(), t.base)
}

// linuxTables are the page tables for the 64-bit entry: the first 4 GiB. The
// kernel maps what it needs beyond by itself.
func linuxTables() Segment {
	return identity{base: layout.PageTables, end: layout.HighRAMStart}.segment()
}
