package boot

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"

	"splitvm/guest/layout"
)

// Params is what a Linux guest is started with.
type Params struct {
	Memory  layout.Map
	Cmdline string // without NUL

	Initrd     io.ReaderAt // nil: none
	InitrdSize int64       // bytes

	// RSDP is where the ACPI tables' root pointer will be; 0 if there are none.
	RSDP layout.GPA

	// Seed is random bytes, MaxSeed at most, for the guest's generator, which
	// then doesn't wait for entropy; nil: none. Kernels since 6.0 take it, by
	// the 64-bit entry alone.
	Seed []byte
}

// Load plans the start of a Linux kernel of size bytes: a bzImage by its 64-bit
// entry, or an ELF vmlinux by its PVH entry or, without one, its 64-bit entry.
//
// Only headers are read; kernel and initrd must stay readable until the plan
// has been placed. A damaged compressed payload therefore shows only there.
// Errors wrap ErrImage or ErrRoom, or are those of the readers.
func Load(kernel io.ReaderAt, size int64, p Params) (*Plan, error) {
	var head [elf.EI_NIDENT]byte
	if size < int64(len(head)) {
		return nil, fmt.Errorf("%w: kernel has %d bytes", ErrImage, size)
	}
	if _, err := io.ReadFull(io.NewSectionReader(kernel, 0, int64(len(head))), head[:]); err != nil {
		return nil, fmt.Errorf("read kernel: %w", err)
	}
	if string(head[:4]) == elf.ELFMAG {
		return planELF(kernel, size, &p)
	}
	magic, err := headerMagic(kernel, size)
	if err != nil {
		return nil, err
	}
	if magic != "HdrS" {
		return nil, fmt.Errorf("%w: neither a bzImage nor an ELF file: give the vmlinuz or vmlinux of an x86-64 Linux", ErrImage)
	}
	b, err := openBzImage(kernel, size)
	if err != nil {
		return nil, err
	}
	return b.plan(&p)
}

// headerMagic is what stands where a bzImage has "HdrS"; empty in short files.
func headerMagic(r io.ReaderAt, size int64) (string, error) {
	const off = 0x202
	var b [4]byte
	if size < off+int64(binary.Size(b)) {
		return "", nil
	}
	if _, err := io.ReadFull(io.NewSectionReader(r, off, int64(len(b))), b[:]); err != nil {
		return "", fmt.Errorf("read kernel: %w", err)
	}
	return string(b[:]), nil
}
