// Package mptable builds the Intel MultiProcessor tables (specification 1.4),
// for kernels that run without ACPI (acpi=off): which processors there are, and
// how interrupt lines reach the I/O APIC.
//
// It starts from gokvm's ebda package, whose floating pointer, table header and
// processor entries it takes. What is wrong or missing there is put right here:
// the table lies at an address of its own instead of the last KiB below 640 KiB,
// which 64 processors do not fit; its length and count are of the entries that
// are in use, where gokvm always says 64 and leaves the rest as processors with
// APIC id 0; a processor's signature is its family, not shifted by 16 bits; and
// buses, I/O APIC and interrupts are told at all, without which a kernel has no
// interrupts but those of the 8259s.
package mptable
