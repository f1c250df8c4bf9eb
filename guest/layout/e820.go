package layout

import "fmt"

// E820Type is the kind of an address range (ACPI 6.5, table 15.5).
type E820Type uint32

const (
	E820RAM      E820Type = 1
	E820Reserved E820Type = 2
)

func (t E820Type) String() string {
	switch t {
	case E820RAM:
		return "RAM"
	case E820Reserved:
		return "reserved"
	}
	return fmt.Sprintf("E820Type(%d)", uint32(t))
}

// E820Entry is one line of the memory map that the guest is told.
type E820Entry struct {
	Range
	Type E820Type
}

// E820 is the memory map that the guest is told, by ascending address and
// without overlap: RAM without the first MiB's upper part, where the EBDA and
// the firmware tables are reserved, and the PCI configuration space reserved,
// without which Linux does not use it (arch/x86/pci/mmconfig-shared.c,
// is_mmconf_reserved).
func (m Map) E820() []E820Entry {
	if m.size == 0 {
		return nil
	}
	span := func(from, to GPA, t E820Type) E820Entry {
		return E820Entry{Range{Start: from, Size: uint64(to - from)}, t}
	}
	map820 := []E820Entry{
		span(0, EBDAStart, E820RAM),
		span(EBDAStart, LegacyHole, E820Reserved),
		span(ACPITables, HighMemory, E820Reserved),
		span(HighMemory, m.LowEnd(), E820RAM),
		span(ECAMStart, ECAMStart+ECAMSize, E820Reserved),
		span(KVMIdentityMap, KVMTSS+3*PageSize, E820Reserved),
	}
	if end := m.End(); end > HighRAMStart {
		map820 = append(map820, span(HighRAMStart, end, E820RAM))
	}
	return map820
}
