package boot

import (
	"fmt"
	"io"

	"splitvm/guest/layout"
)

// BareParams is what a bare guest is started with: a static ELF64 executable
// that runs in ring 3 with nothing around it.
type BareParams struct {
	Memory layout.Map
	VCPUs  []BareArgs // one for each vCPU, all of which start at the ELF's entry

	// Data is placed as it is: parameters, tables. It may not overlap the
	// program or what LoadBare adds.
	Data []Segment

	// StackSize gives each vCPU a stack of so many bytes (a multiple of 16) at
	// the top of the RAM below 4 GiB, vCPU 0's highest; 0: none, RSP is 0.
	StackSize uint64

	// HugePages maps memory by 1 GiB pages, which the vCPU's CPUID must offer
	// (leaf 0x80000001, EDX bit 26), instead of 2 MiB.
	HugePages bool
}

// BareArgs are the first four arguments of the System V calling convention.
type BareArgs struct {
	RDI, RSI, RDX, RCX uint64
}

// LoadBare plans the start of a bare guest, size bytes of image.
//
// Each vCPU begins in long mode in ring 3 (CS 0x33, DS and SS 0x2b, IOPL 3 and
// an I/O bitmap of zeroes so that IN and OUT work on every port, interrupts
// off, SSE on), with all memory up to the end
// of RAM mapped to itself, writable and executable, accessed and dirty set, so
// that the processor never writes to the tables. There is no IDT: an exception
// ends the guest. RSP is as after a call, 8 below a multiple of 16.
//
// The descriptors are at layout.BootGDT, the task state segment that they name
// at layout.BareTSS. The page tables are at
// layout.PageTables if they fit there, which they do for 90 GiB and, with
// HugePages, for any size; otherwise at the top of the RAM below 4 GiB.
func LoadBare(image io.ReaderAt, size int64, p BareParams) (*Plan, error) {
	f, err := readELF(image, size)
	if err != nil {
		return nil, err
	}
	segs, err := f.segments("program", image, layout.PageSize)
	if err != nil {
		return nil, err
	}
	if f.entryOutside() {
		return nil, fmt.Errorf("%w: entry point %#x is not in what is loaded", ErrImage, f.entry)
	}
	if p.StackSize%16 != 0 || p.StackSize > uint64(layout.LowRAMEnd) {
		return nil, fmt.Errorf("bare guest: stacks of %d bytes: give a multiple of 16", p.StackSize)
	}
	tables, top := bareTables(&p)
	plan := &Plan{Kind: "bare guest, " + ModeUser64.String(), Segments: segs}
	plan.Segments = append(plan.Segments, p.Data...)
	plan.Segments = append(plan.Segments, bareGDT.segment(), bareTSS(), tables.segment())
	for _, args := range p.VCPUs {
		e := user64(f.entry, uint64(tables.base), args)
		if p.StackSize > 0 {
			if uint64(top) < p.StackSize {
				return nil, fmt.Errorf("stacks %w of %d MiB", ErrRoom, p.Memory.Size()>>20)
			}
			e.RSP = uint64(top) - 8
			top -= layout.GPA(p.StackSize)
			plan.Segments = append(plan.Segments, Segment{Name: "stack", GPA: top, Size: p.StackSize})
		}
		plan.Entries = append(plan.Entries, e)
	}
	return plan, plan.finish(p.Memory)
}

// bareTables places the page tables; top is where the RAM below 4 GiB ends
// that they leave.
func bareTables(p *BareParams) (t identity, top layout.GPA) {
	t = identity{base: layout.PageTables, end: p.Memory.End(), user: true, huge: p.HugePages}
	top = p.Memory.LowEnd() &^ (layout.PageSize - 1)
	if bytes := t.pages() * layout.PageSize; bytes > layout.PageTablesMax {
		top -= min(top, layout.GPA(bytes)) // too little memory shows when the plan is checked
		t.base = top
	}
	return t, top
}

// entryOutside tells whether the entry point, which for a bare guest is an
// address as it is, lies outside the loaded contents.
func (f *elfFile) entryOutside() bool {
	for _, p := range f.loads {
		if f.entry-p.Paddr < p.Filesz {
			return false
		}
	}
	return true
}

// user64 is the state of a bare guest's vCPU.
func user64(entry, tables uint64, args BareArgs) Entry {
	return Entry{
		Mode:   ModeUser64,
		RIP:    entry,
		RFLAGS: rflagsOne | rflagsIOPL3,
		RDI:    args.RDI,
		RSI:    args.RSI,
		RDX:    args.RDX,
		RCX:    args.RCX,
		CR0:    cr0PE | cr0MP | cr0ET | cr0NE | cr0WP | cr0PG,
		CR3:    tables,
		CR4:    cr4PAE | cr4OSFXSR | cr4OSXMMEXCPT,
		EFER:   eferSCE | eferLME | eferLMA,
		CS:     bareGDT.register(gdtUserCode),
		Data:   bareGDT.register(gdtUserData),
		TR:     bareGDT.register(gdtTSS),
		GDT:    bareGDT.table(),
	}
}
