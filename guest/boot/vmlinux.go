package boot

import (
	"errors"
	"fmt"
	"io"

	"github.com/bobuhiro11/gokvm/pvh"

	"splitvm/guest/layout"
)

// pvhModules is where the module list lies: behind struct hvm_start_info.
const pvhModules = layout.PVHInfo + 0x40

// planELF lays out an uncompressed kernel: by its PVH entry if it has one, else
// by the 64-bit entry of its ELF header.
func planELF(r io.ReaderAt, size int64, p *Params) (*Plan, error) {
	f, err := readELF(r, size)
	if err != nil {
		return nil, err
	}
	segs, err := f.segments("kernel", r, layout.HighMemory)
	if err != nil {
		return nil, err
	}
	if f.end() > p.Memory.LowEnd() {
		return nil, fmt.Errorf("kernel up to %#x %w of %d MiB: give it at least %d MiB", f.end(), ErrRoom, p.Memory.Size()>>20, uint64(f.end())>>20+1)
	}
	plan := &Plan{Segments: segs}
	entry, found, err := f.pvhAddress(r)
	if err != nil {
		return nil, err
	}
	if found {
		plan.Kind = "vmlinux, " + ModePVH.String()
		return plan, plan.pvh(p, f, entry)
	}
	start, err := f.physical(f.entry)
	if err != nil {
		return nil, err
	}
	plan.Kind = "vmlinux, " + ModeLinux64.String()
	return plan, plan.linux64(p, plainHeader(), f.end(), start)
}

// pvh adds the start info and what it points to.
func (plan *Plan) pvh(p *Params, f *elfFile, entry uint32) error {
	if _, err := f.physical(uint64(entry)); err != nil {
		return err
	}
	cmdline, err := cmdlineSegment(p.Cmdline, 0)
	if err != nil {
		return err
	}
	initrd, err := initrdSegment(p, f.end(), 0)
	if err != nil {
		return err
	}
	info, err := startInfo(p, &initrd)
	if err != nil {
		return fmt.Errorf("PVH start info: %w", err)
	}
	plan.Segments = append(plan.Segments, info...)
	plan.Segments = append(plan.Segments, cmdline, initrd, bootGDT.segment())
	plan.Entries = []Entry{pvhEntry(entry)}
	return plan.finish(p.Memory)
}

// startInfo is struct hvm_start_info, its module list if there is an initrd,
// and its memory map (Xen public/arch-x86/hvm/start_info.h, version 1).
func startInfo(p *Params, initrd *Segment) ([]Segment, error) {
	e820 := p.Memory.E820()
	info := pvh.NewStartInfo(uint64(p.RSDP), uint64(layout.Cmdline))
	info.MemMapPAddr = uint64(layout.PVHMemMap)
	info.MemMapEntries = uint32(len(e820))
	var mods []byte
	var errs []error
	if initrd.Size > 0 {
		info.NrModules, info.ModlistPAddr = 1, uint64(pvhModules)
		b, err := pvh.NewModListEntry(uint64(initrd.GPA), initrd.Size, 0).Bytes()
		mods, errs = b, append(errs, err)
	}
	var memmap []byte
	for _, e := range e820 {
		b, err := pvh.NewMemMapTableEntry(uint64(e.Start), e.Size, uint32(e.Type)).Bytes()
		memmap, errs = append(memmap, b...), append(errs, err)
	}
	b, err := info.Bytes()
	return []Segment{
		bytesAt("PVH start info", layout.PVHInfo, b),
		bytesAt("PVH modules", pvhModules, mods),
		bytesAt("PVH memory map", layout.PVHMemMap, memmap),
	}, errors.Join(append(errs, err)...)
}
