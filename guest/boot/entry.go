package boot

import "splitvm/guest/layout"

// Mode is the processor mode in which a guest starts.
type Mode int

const (
	// ModeLinux64 is long mode in ring 0, by the 64-bit boot protocol.
	ModeLinux64 Mode = iota + 1
	// ModePVH is 32-bit protected mode without paging, by Xen's PVH protocol.
	ModePVH
	// ModeUser64 is long mode in ring 3: a bare guest.
	ModeUser64
)

func (m Mode) String() string {
	switch m {
	case ModeLinux64:
		return "64-bit entry"
	case ModePVH:
		return "PVH entry"
	case ModeUser64:
		return "ring-3 entry"
	}
	return "no mode"
}

// Entry is the state in which a vCPU starts, complete: general registers that
// are not named are zero, as are the debug registers; LDT is unusable. The
// same segment goes into DS, ES, FS, GS and SS.
type Entry struct {
	Mode Mode

	RIP, RSP, RFLAGS             uint64
	RAX, RBX, RCX, RDX, RSI, RDI uint64

	CR0, CR3, CR4, EFER uint64
	CS, Data, TR        SegReg
	GDT, IDT            Table
}

// SegReg is a segment register with its hidden part (Intel SDM vol. 3, 3.4.3
// and 3.4.5).
type SegReg struct {
	Selector uint16
	Base     uint64
	Limit    uint32 // in bytes, granularity applied
	Type     uint8
	DPL      uint8
	S        bool // code or data, not system
	Present  bool
	L        bool // 64-bit code
	DB       bool // 32-bit
	G        bool // page granularity
}

// Table is a descriptor-table register.
type Table struct {
	Base  layout.GPA
	Limit uint16 // in bytes, less one
}

// MSR is a model-specific register and what it starts with.
type MSR struct {
	Index uint32
	Value uint64
}

// LinuxMSRs are the registers that firmware sets on every vCPU of a Linux guest,
// started by an Entry or not: fast string operations on, and the MTRRs on with
// memory write-back by default, without which Linux says "MTRRs disabled by
// BIOS" and leaves PAT as it is (Intel SDM vol. 3, 12.11.2.1).
func LinuxMSRs() []MSR {
	const (
		miscEnable  = 0x1A0
		fastStrings = 1 << 0
		mtrrDefault = 0x2FF
		mtrrEnable  = 1 << 11
		writeBack   = 6
	)
	return []MSR{{miscEnable, fastStrings}, {mtrrDefault, mtrrEnable | writeBack}}
}

// Control register bits (Intel SDM vol. 3, 2.5) and EFER's (2.2.1).
const (
	cr0PE = 1 << 0
	cr0MP = 1 << 1
	cr0ET = 1 << 4
	cr0NE = 1 << 5
	cr0WP = 1 << 16
	cr0PG = 1 << 31

	cr4PAE        = 1 << 5
	cr4OSFXSR     = 1 << 9
	cr4OSXMMEXCPT = 1 << 10

	eferSCE = 1 << 0
	eferLME = 1 << 8
	eferLMA = 1 << 10

	rflagsOne   = 1 << 1     // always set
	rflagsIOPL3 = 0b11 << 12 // ring 3 may use ports
)

// linux64 is the state that the 64-bit boot protocol asks for
// (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"): paging on with
// kernel, zero page and command line mapped to themselves, flat segments
// __BOOT_CS (0x10) and __BOOT_DS (0x18), interrupts off, RSI at the zero page.
func linux64(entry uint64) Entry {
	return Entry{
		Mode:   ModeLinux64,
		RIP:    entry,
		RFLAGS: rflagsOne,
		RSI:    uint64(layout.ZeroPage),
		CR0:    cr0PE | cr0MP | cr0ET | cr0NE | cr0WP | cr0PG,
		CR3:    uint64(layout.PageTables),
		CR4:    cr4PAE,
		EFER:   eferLME | eferLMA,
		CS:     bootGDT.register(gdtKernelCode64),
		Data:   bootGDT.register(gdtKernelData),
		TR:     bootGDT.register(gdtTSS),
		GDT:    bootGDT.table(),
	}
}

// pvh is the state that the PVH protocol asks for (Xen docs/misc/pvh.pandoc,
// "x86/HVM direct boot ABI"): 32-bit flat segments, paging off, EBX at the
// start info.
func pvhEntry(entry uint32) Entry {
	return Entry{
		Mode:   ModePVH,
		RIP:    uint64(entry),
		RFLAGS: rflagsOne,
		RBX:    uint64(layout.PVHInfo),
		CR0:    cr0PE | cr0ET, // ET is hardwired to 1
		CS:     bootGDT.register(gdtKernelCode32),
		Data:   bootGDT.register(gdtKernelData),
		TR:     bootGDT.register(gdtTSS),
		GDT:    bootGDT.table(),
	}
}
