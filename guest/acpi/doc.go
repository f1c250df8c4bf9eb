// Package acpi builds the ACPI tables of a splitvm machine (ACPI 6.5): RSDP,
// XSDT, FADT with the fixed hardware of package layout, FACS, MADT, MCFG and a
// DSDT written in AML by the encoder in aml.go.
//
// Tables returns one block of bytes, which refers to itself by guest-physical
// addresses; the caller places it at layout.ACPITables, with the RSDP first.
// The package neither emulates what the tables describe nor knows who does.
//
// What the guest is told, and why:
//   - The platform is always in ACPI mode (SMI_CMD is 0), power-off is SLP_TYP
//     and SLP_EN in PM1a_CNT, reset is the reset register, the PM timer has 32
//     bits.
//   - There is no VGA and no i8042, so that Linux doesn't spend its boot probing
//     for them; there is a CMOS clock and one serial port.
//   - The PCI root has bus 0 alone, its ECAM window is claimed by a motherboard
//     resource (without that Linux does not use it), and it has no interrupt
//     routing: all functions use MSI-X.
package acpi
