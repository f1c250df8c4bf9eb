package acpi

import (
	"encoding/binary"
	"fmt"

	"splitvm/guest/layout"
)

// MaxCPUs is how many the tables are made for.
const MaxCPUs = 64

// Config is what differs from one machine to another.
type Config struct {
	CPUs int // 1 to MaxCPUs; their APIC ids are 0 to CPUs-1
	// PowerButton says that the fixed power button works: the VMM sets its
	// status bit in PM1a_EVT (bit 8) and raises the SCI.
	PowerButton bool
}

// Tables builds the tables, to be placed at layout.ACPITables: at most
// layout.ACPIMax bytes, the RSDP first.
func Tables(c Config) ([]byte, error) {
	if c.CPUs < 1 || c.CPUs > MaxCPUs {
		return nil, fmt.Errorf("ACPI tables for %d CPUs: give 1 to %d", c.CPUs, MaxCPUs)
	}
	b := block{bytes: make([]byte, rsdpSize)}
	facsAt := b.add(facs())
	dsdtAt := b.add(dsdt(c.CPUs))
	var pointers []byte
	for _, t := range [][]byte{fadt(facsAt, dsdtAt, c.PowerButton), madt(c.CPUs), mcfg()} {
		pointers = binary.LittleEndian.AppendUint64(pointers, uint64(b.add(t)))
	}
	xsdtAt := b.add(table("XSDT", 1, pointers))
	copy(b.bytes, rsdp(xsdtAt))
	if len(b.bytes) > layout.ACPIMax {
		return nil, fmt.Errorf("ACPI tables for %d CPUs: %d bytes, more than %d", c.CPUs, len(b.bytes), layout.ACPIMax)
	}
	return b.bytes, nil
}

// block collects tables from layout.ACPITables on.
type block struct{ bytes []byte }

// add appends a table, aligned as the FACS needs it, and returns its address.
func (b *block) add(t []byte) layout.GPA {
	const align = 64
	b.bytes = append(b.bytes, make([]byte, -len(b.bytes)&(align-1))...)
	at := layout.ACPITables + layout.GPA(len(b.bytes))
	b.bytes = append(b.bytes, t...)
	return at
}

const rsdpSize = 36

// rsdp is the root pointer (5.2.5.3), revision 2: no RSDT, but an XSDT. Its
// first 20 bytes have a checksum of their own.
func rsdp(xsdt layout.GPA) []byte {
	b := append([]byte("RSD PTR "), 0)
	b = append(b, oemID...)
	b = append(b, 2)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, rsdpSize)
	b = binary.LittleEndian.AppendUint64(b, uint64(xsdt))
	b = append(b, 0, 0, 0, 0)
	b[8] = checksum(b[:20])
	b[32] = checksum(b)
	return b
}
