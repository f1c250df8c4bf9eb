package acpi

import (
	"fmt"

	"splitvm/guest/layout"
)

// Ports that the PCI root passes on: all above the ISA ones.
const (
	pciPortsLow  = 0x1000
	pciPortsHigh = 0xFFFF

	pciConfigPorts     = 0xCF8
	pciConfigPortCount = 8
	pmPortCount        = 0x10
	comPortCount       = 8
	cmosPortCount      = 2
)

// dsdt is the table of devices, and the SLP_TYP of soft-off (\_S5), by which a
// guest powers the machine off.
func dsdt(cpus int) []byte {
	bus := [][]byte{pciRoot(), motherboard(), serial(), clock()}
	for i := range cpus {
		bus = append(bus, processor(i))
	}
	sleep := pkg(integer(layout.SleepTypeS5), integer(0), integer(0), integer(0))
	return table("DSDT", 2, name("_S5", sleep), scope("_SB", bus...))
}

// pciRoot is the host bridge of bus 0. It passes its windows on and has no
// _PRT: no function has an interrupt line.
func pciRoot() []byte {
	return device("PCI0",
		name("_HID", eisaID("PNP0A08")), // PCI Express
		name("_CID", eisaID("PNP0A03")),
		name("_UID", integer(0)),
		name("_SEG", integer(0)),
		name("_BBN", integer(0)),
		name("_CRS", resources(
			wordSpace(spaceBus, 0, 0, 0),
			ioPorts(pciConfigPorts, pciConfigPortCount),
			wordSpace(spaceIO, ioEntireRange, pciPortsLow, pciPortsHigh),
			dwordMemory(layout.PCIWindowStart, layout.PCIWindowSize),
		)),
	)
}

// motherboard claims what belongs to no other device.
func motherboard() []byte {
	return device("MBRD",
		name("_HID", eisaID("PNP0C02")),
		name("_UID", integer(0)),
		name("_CRS", resources(
			fixedMemory(layout.ECAMStart, layout.ECAMSize),
			ioPorts(layout.PortPM1aEvent, pmPortCount),
		)),
	)
}

func serial() []byte {
	return device("COM1",
		name("_HID", eisaID("PNP0501")),
		name("_UID", integer(1)),
		name("_DDN", text("COM1")),
		name("_CRS", resources(ioPorts(layout.PortCOM1, comPortCount), irq(layout.IRQCOM1))),
	)
}

func clock() []byte {
	return device("RTC",
		name("_HID", eisaID("PNP0B00")),
		name("_CRS", resources(ioPorts(layout.PortCMOS, cmosPortCount), irq(layout.IRQCMOS))),
	)
}

// processor is the object that the MADT's entry for CPU i refers to by its
// unique id.
func processor(i int) []byte {
	return device(fmt.Sprintf("C%03X", i),
		name("_HID", text("ACPI0007")),
		name("_UID", integer(uint64(i))),
	)
}
