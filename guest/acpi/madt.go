package acpi

import (
	"encoding/binary"

	"splitvm/guest/layout"
)

// MADT structures (ACPI 6.5, 5.2.12).
const (
	madtRevision = 6
	madtPCAT     = 1 // there are two 8259s as well

	madtLocalAPIC = 0
	madtIOAPIC    = 1
	madtOverride  = 2
	madtNMI       = 4

	cpuEnabled = 1

	// Interrupt flags (MPS INTI, table 5.26).
	activeHighLevel = 0b1101

	ioapicID      = 0
	allProcessors = 0xFF
	lintNMI       = 1

	timerIRQ = 0 // of the PIT, wired to
	timerGSI = 2
)

// madt tells the interrupt controllers: a local APIC for each CPU, whose id and
// unique id are its number, and the I/O APIC with what is not wired one to one.
func madt(cpus int) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, uint32(layout.LAPICAddr))
	b = le.AppendUint32(b, madtPCAT)
	for i := range cpus {
		b = append(b, madtLocalAPIC, 8, byte(i), byte(i))
		b = le.AppendUint32(b, cpuEnabled)
	}
	b = append(b, madtIOAPIC, 12, ioapicID, 0)
	b = le.AppendUint32(b, uint32(layout.IOAPICAddr))
	b = le.AppendUint32(b, 0) // first GSI
	b = append(b, override(timerIRQ, timerGSI, 0)...)
	b = append(b, override(layout.IRQSCI, layout.IRQSCI, activeHighLevel)...)
	b = append(b, madtNMI, 6, allProcessors, 0, 0, lintNMI)
	return table("APIC", madtRevision, b)
}

// override says that an ISA interrupt is not its own GSI, or not of the bus's
// kind, which is edge triggered and active high.
func override(irq byte, gsi uint32, flags uint16) []byte {
	b := []byte{madtOverride, 10, 0, irq}
	b = binary.LittleEndian.AppendUint32(b, gsi)
	return binary.LittleEndian.AppendUint16(b, flags)
}

// mcfg tells where PCI configuration space is (PCI Firmware 3.3, 4.1.2):
// segment 0, bus 0 to 0.
func mcfg() []byte {
	b := make([]byte, 8+16)
	binary.LittleEndian.PutUint64(b[8:], uint64(layout.ECAMStart))
	return table("MCFG", 1, b)
}
