// Package layout is the guest-physical address map of a splitvm machine: where
// RAM, device windows, firmware tables and boot information lie.
//
// It is constants and arithmetic: it touches no memory and knows no device. A
// Map is a value, immutable, and valid when it comes from New. All addresses
// are in bytes.
//
//	0x0000_0000_0000  RAM; the first MiB holds boot information and tables
//	0x0000_000a_0000  legacy hole to 1 MiB: RAM behind it, not told to the guest
//	0x0000_0010_0000  RAM, to 3 GiB at most
//	0x0000_c000_0000  PCI memory window, 512 MiB
//	0x0000_e000_0000  PCI configuration space (ECAM) of bus 0, 1 MiB
//	0x0000_fec0_0000  I/O APIC
//	0x0000_fee0_0000  local APICs
//	0x0000_fffb_c000  KVM's identity-map page and TSS, 4 pages
//	0x0001_0000_0000  RAM that did not fit below 3 GiB
package layout
