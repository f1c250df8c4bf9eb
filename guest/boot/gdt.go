package boot

import (
	"encoding/binary"

	"github.com/bobuhiro11/gokvm/pvh"

	"splitvm/guest/layout"
)

// Places in bootGDT. Those of the kernel's code and data are the boot
// protocol's __BOOT_CS and __BOOT_DS, those of user code and data are Linux's
// (arch/x86/include/asm/segment.h): selectors 0x33 and 0x2b.
const (
	gdtKernelCode32 = 1
	gdtKernelCode64 = 2
	gdtKernelData   = 3
	gdtUserData     = 5
	gdtUserCode     = 6
	gdtTSS          = 8 // two entries in long mode
)

// gdt is a global descriptor table.
type gdt [10]uint64

// bareGDT is bootGDT with a task state segment that has contents.
var bareGDT = func() gdt {
	g := bootGDT
	g[gdtTSS] = pvh.GdtEntry(0x008B, uint32(layout.BareTSS), bareTSSSize-1)
	return g
}()

// Access bytes and flags (Intel SDM vol. 3, 3.4.5): every code and data
// segment is marked accessed, and the TSS busy, as they are loaded already.
var bootGDT = gdt{
	gdtKernelCode32: pvh.GdtEntry(0xC09B, 0, 0xF_FFFF),
	gdtKernelCode64: pvh.GdtEntry(0xA09B, 0, 0xF_FFFF),
	gdtKernelData:   pvh.GdtEntry(0xC093, 0, 0xF_FFFF),
	gdtUserData:     pvh.GdtEntry(0xC0F3, 0, 0xF_FFFF),
	gdtUserCode:     pvh.GdtEntry(0xA0FB, 0, 0xF_FFFF),
	gdtTSS:          pvh.GdtEntry(0x008B, 0, 0x67),
}

// register is the segment register that holds descriptor i.
func (g *gdt) register(i int) SegReg {
	s := pvh.SegmentFromGDT(g[i], uint8(i))
	return SegReg{
		Selector: uint16(i)<<3 | uint16(s.DPL),
		Base:     s.Base,
		Limit:    s.Limit,
		Type:     s.Typ,
		DPL:      s.DPL,
		S:        s.S == 1,
		Present:  s.Present == 1,
		L:        s.L == 1,
		DB:       s.DB == 1,
		G:        s.G == 1,
	}
}

func (g *gdt) table() Table {
	return Table{Base: layout.BootGDT, Limit: uint16(len(g)*8 - 1)}
}

func (g *gdt) segment() Segment {
	data := make([]byte, 0, len(g)*8)
	for _, d := range g {
		data = binary.LittleEndian.AppendUint64(data, d)
	}
	return bytesAt("descriptor table", layout.BootGDT, data)
}
