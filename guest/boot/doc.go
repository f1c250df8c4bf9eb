// Package boot plans how a guest starts: what has to be in its RAM, and in which
// state its vCPUs begin. It reads kernels and initrds through io.ReaderAt and
// knows neither KVM nor host memory; a Plan is plain data.
//
// It isn't firmware: nothing of a BIOS or UEFI is there. It doesn't build the
// tables of CPUs and devices either: packages acpi and mptable do; the caller
// writes them at layout.ACPITables and layout.MPTable.
//
// # A bzImage, from file to first instruction
//
// Load looks at the first bytes. "HdrS" at 0x202 is a bzImage; openBzImage reads
// its setup header (gokvm's bootparam, cut to the length that the image gives)
// and finds the payload, which is the compressed vmlinux. A boot loader would
// place the protected-mode part and let the code in it decompress the kernel in
// the guest. We do that on the host instead: it takes tens of milliseconds here,
// and minutes where ring 0 is emulated. inflate recognises the compression by
// the kernel's own table; what it returns, an inflated, is the vmlinux as an
// io.ReaderAt that decompresses forward in chunks. Of it, readELF reads the
// program headers, which are in the first chunk.
//
// plan then lists the segments: every PT_LOAD at its physical address, which is
// where the decompressor would have put it without KASLR. Nothing needs to be
// relocated: the address is the one that the kernel was linked for
// (pref_address, CONFIG_PHYSICAL_START), so the relocations that follow the ELF
// file in the payload, and the size after them, are not looked at; KASLR, which
// is the decompressor's work, is thereby off. linux64 adds the zero page with
// the setup header, the memory map and the ACPI pointer; the command line; the
// initrd under initrd_addr_max; a GDT; and page tables that map the first 4 GiB
// to themselves. finish checks that all of it lies in RAM, one beside the other.
//
// Plan.Place writes it: each segment in order of its offset, so that the
// payload is decompressed once, from the decompressor's buffer into guest RAM.
// The VMM sets vCPU 0 from Plan.Entries[0] and lets the others wait for their
// start-up interrupt. The first instruction is startup_64 of vmlinux
// (arch/x86/kernel/head_64.S), which the ELF header names as entry, with RSI at
// the zero page: what the decompressor would have jumped to.
//
// # Bad input
//
// Kernels are input. Every offset, size and address in one is checked against
// the file and the RAM, decompression stops at what the payload says its size
// is (512 MiB at most, window 128 MiB), and an error wraps ErrImage or ErrRoom.
package boot
