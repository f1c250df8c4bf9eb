// Package bare holds bare guests: small programs that run in ring 3 of a
// virtual machine with nothing around them, no kernel, no interrupts and no
// device but two ports. They start within milliseconds on any KVM, run at the
// processor's own speed even where ring 0 is emulated, and are what kernel-tier
// tests and micro-benchmarks run.
//
// A program is one assembly function of this package that is never called: its
// code is read out of this very executable, wrapped into an ELF file and put
// into a guest. So no assembler is needed, and the structures that a program
// reads and writes are the Go types of this package. The code is position
// independent, uses no stack, and neither calls nor is called.
//
// # Machine
//
// A vCPU starts at the ELF file's entry in 64-bit mode, ring 3, IOPL 3,
// interrupts off, with guest-physical memory mapped to itself, SSE on, and RDI
// at its Block. Without an IDT an exception is a triple fault and the guest's
// end. A program writes to two ports, 32 bits each:
//
//   - PortMark: a vCPU has come to a mark; the host lets it go on when all have.
//   - PortExit: a vCPU is done, with the status written. It does not come back.
//
// The first 2 MiB hold code, blocks, histograms and tables at the addresses of
// this package; working memory begins at Memory.
//
// This package imports nothing of the VMM; package vmm/bare runs its programs.
package bare
