package pci

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"splitvm/guest/layout"
	"splitvm/vmm/bus"
)

// BAR is a memory base address register and what answers behind it.
type BAR struct {
	Index  int    // register 0 to 5; a Wide one takes the next one as well
	Size   uint64 // bytes, a power of two from 4096 to 2 GiB
	Wide   bool   // 64-bit
	Device bus.Device

	// Bells are places in the BAR whose writes go to eventfds while it
	// decodes. Device gets the writes that a bell doesn't take.
	Bells []Bell
}

// Bell is a write-only register of Size bytes (0: a write of any width)
// within a BAR, and the eventfd that a write signals.
type Bell struct {
	Offset uint64
	Size   int
	FD     int
}

const (
	barWide = 1 << 2 // type 64-bit (PCI Local Bus 3.0, 6.2.5.1)

	minBAR = 4 << 10 // so that no two BARs share a page
	maxBAR = 2 << 30
)

type bar struct {
	BAR
	mapped  bool
	at      uint64 // where, if mapped
	ringing []Bell // those attached at at
}

// AddBAR gives the function a BAR, at address 0 until Host.Plug.
func (f *Function) AddBAR(b BAR) error {
	regs := 1
	if b.Wide {
		regs = 2
	}
	if b.Index < 0 || b.Index+regs > numBARs || b.Size < minBAR || b.Size > maxBAR || bits.OnesCount64(b.Size) != 1 {
		return fmt.Errorf("add BAR %d of %#x bytes: not possible", b.Index, b.Size)
	}
	reg := regBAR0 + 4*b.Index
	for _, m := range f.mask[reg : reg+4*regs] {
		if m != 0 {
			return fmt.Errorf("add BAR %d: the register is taken", b.Index)
		}
	}
	mask := ^(b.Size - 1)
	binary.LittleEndian.PutUint32(f.mask[reg:], uint32(mask))
	if b.Wide {
		f.space[reg] |= barWide
		binary.LittleEndian.PutUint32(f.mask[reg+4:], uint32(mask>>32))
	}
	f.bars = append(f.bars, &bar{BAR: b})
	return nil
}

// address is what the guest, or Plug, programmed.
func (f *Function) address(b *bar) uint64 {
	reg := regBAR0 + 4*b.Index
	at := uint64(binary.LittleEndian.Uint32(f.space[reg:]))
	if b.Wide {
		at |= uint64(binary.LittleEndian.Uint32(f.space[reg+4:])) << 32
	}
	return at &^ (b.Size - 1)
}

func (f *Function) setAddress(b *bar, at uint64) {
	reg := regBAR0 + 4*b.Index
	low := at | uint64(f.space[reg]&0xf)
	binary.LittleEndian.PutUint32(f.space[reg:], uint32(low))
	if b.Wide {
		binary.LittleEndian.PutUint32(f.space[reg+4:], uint32(at>>32))
	}
}

// wanted tells where b should decode now, if it should.
func (h *Host) wanted(f *Function, b *bar) (uint64, bool) {
	if f.command()&commandMemory == 0 {
		return 0, false
	}
	at := f.address(b)
	for _, w := range h.windows {
		if w.Contains(layout.GPA(at), b.Size) {
			return at, true
		}
	}
	return 0, false
}

// remap brings every BAR to where it should decode. BARs leave their old
// places before any takes a new one; one whose place is taken by another
// decodes nowhere until that has moved.
func (h *Host) remap() {
	for _, f := range h.functions {
		for _, b := range f.bars {
			if at, ok := h.wanted(f, b); b.mapped && !(ok && at == b.at) {
				h.unmap(b)
			}
		}
	}
	for _, f := range h.functions {
		for _, b := range f.bars {
			if at, ok := h.wanted(f, b); ok && !b.mapped {
				h.tryMap(b, at)
			}
		}
	}
}

func (h *Host) tryMap(b *bar, at uint64) {
	if h.mmio.Add(at, b.Size, b.Device) != nil {
		return
	}
	b.mapped, b.at = true, at
	for _, bell := range b.Bells {
		if h.bells != nil && h.bells.Attach(layout.GPA(at+bell.Offset), bell.Size, bell.FD) == nil {
			b.ringing = append(b.ringing, bell)
		}
	}
}

func (h *Host) unmap(b *bar) {
	for _, bell := range b.ringing {
		if err := h.bells.Detach(layout.GPA(b.at+bell.Offset), bell.Size, bell.FD); err != nil {
			h.log.Error("take a doorbell away", "address", b.at+bell.Offset, "error", err)
		}
	}
	b.ringing = b.ringing[:0]
	if err := h.mmio.Remove(b.at); err != nil {
		panic(fmt.Sprintf("pci: BAR %d was mapped at %#x: %v", b.Index, b.at, err))
	}
	b.mapped = false
}
