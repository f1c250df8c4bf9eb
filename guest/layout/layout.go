package layout

// GPA is a guest-physical address. It has no String method, so that %#x prints it.
type GPA uint64

// Page sizes of x86-64 (Intel SDM vol. 3, 4.5).
const (
	PageShift = 12
	PageSize  = 1 << PageShift // 4 KiB
	Page2M    = 2 << 20
	Page1G    = 1 << 30
)

// RAM and the hole below 4 GiB.
const (
	LowRAMEnd    GPA = 0xC000_0000   // RAM below the hole ends here at the latest
	HighRAMStart GPA = 0x1_0000_0000 // the rest of RAM starts here

	MinRAM uint64 = 2 << 20 // the first MiB and something to run in
	MaxRAM uint64 = 1 << 40 // 1 TiB
)

// Device windows. The I/O APIC and local APIC addresses are the architecture's
// (Intel SDM vol. 3, 11.4.1; 82093AA, 3.0) and what KVM's irqchip uses.
const (
	PCIWindowStart GPA = 0xC000_0000 // 32-bit BARs
	PCIWindowSize      = 0x2000_0000 // 512 MiB, ends at ECAMStart
	ECAMStart      GPA = 0xE000_0000 // bus 0: 32 devices x 8 functions x 4 KiB
	ECAMSize           = 0x10_0000

	IOAPICAddr GPA = 0xFEC0_0000
	LAPICAddr  GPA = 0xFEE0_0000

	// Pages that KVM on Intel needs for real mode (KVM_SET_IDENTITY_MAP_ADDR,
	// KVM_SET_TSS_ADDR; Documentation/virt/kvm/api.rst). No RAM may lie there.
	KVMIdentityMap GPA = 0xFFFB_C000 // 1 page
	KVMTSS         GPA = 0xFFFB_D000 // 3 pages
)

// Ports and interrupt lines of the fixed hardware. ACPI's are the ones of
// ACPI 6.5, 4.8.3; COM1, CMOS and reset are the PC's.
const (
	PortPM1aEvent   = 0x600 // 4 bytes: status, enable
	PortPM1aControl = 0x604 // 2 bytes
	PortPMTimer     = 0x608 // 4 bytes, 3.579545 MHz
	PortReset       = 0xCF9 // a write of ResetValue resets the machine
	ResetValue      = 0x06
	PortCOM1        = 0x3F8 // 8 bytes
	PortCMOS        = 0x70  // index, data

	IRQCOM1 = 4
	IRQCMOS = 8
	IRQSCI  = 9 // level triggered, active high

	// SleepTypeS5 is the SLP_TYP value of soft-off: written to PM1a_CNT with
	// SLP_EN it powers the machine off (ACPI 6.5, 4.8.3.2.1).
	SleepTypeS5 = 5
)

// The first MiB. Below EBDAStart is RAM to the guest, and the kernel copies
// what it wants to keep before it reuses it; from EBDAStart on all is reserved.
const (
	BDAStart  GPA = 0x400  // BIOS data area; the word at 0x40E is EBDAStart>>4
	BootGDT   GPA = 0x500  // descriptors that the boot segments were loaded from
	PVHInfo   GPA = 0x6000 // struct hvm_start_info, then the module list
	PVHMemMap GPA = 0x7000 // struct hvm_memmap_table_entry[]
	ZeroPage  GPA = 0x1_0000
	SetupData GPA = 0x1_1000 // the boot protocol's linked list, 1 page
	BareTSS   GPA = 0x1_2000 // a bare guest's task state segment, 3 pages
	Cmdline   GPA = 0x2_0000
	// CmdlineMax is the room at Cmdline, with the terminating NUL.
	CmdlineMax     = 0x1_0000
	PageTables GPA = 0x3_0000 // PML4, PDPT, page directories
	// PageTablesMax is the room at PageTables.
	PageTablesMax = 0x6_0000

	EBDAStart  GPA = 0x9_FC00
	LegacyHole GPA = 0xA_0000 // video memory and option ROMs of a PC
	ACPITables GPA = 0xE_0000 // RSDP first: where the guest also searches it
	ACPIMax        = 0x1_0000
	MPTable    GPA = 0xF_0000 // floating pointer first (MP spec 1.4, 4)
	MPTableMax     = 0x1_0000
	HighMemory GPA = 0x10_0000 // 1 MiB
)
