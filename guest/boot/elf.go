package boot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"

	"splitvm/guest/layout"
)

// Limits on what an ELF file may ask for. Kernels have 5 program headers, right
// behind the file header.
const (
	maxPrograms     = 64
	maxNotes        = 64 << 10
	maxProgramTable = 1 << 20 // largest offset of the program headers
)

// elfFile is what the loader needs of an ELF64 file for x86-64. debug/elf is
// not used for it: that reads the section headers, which lie at the end (a
// compressed kernel would have to be decompressed twice), and is not meant for
// hostile files.
type elfFile struct {
	entry uint64
	loads []elf.Prog64 // PT_LOAD with a size in memory, in the file's order
	notes []elf.Prog64 // PT_NOTE
}

// readELF reads the headers. size is the file's, or a bound of it.
func readELF(r io.ReaderAt, size int64) (*elfFile, error) {
	var h elf.Header64
	if err := readStruct(r, 0, size, &h); err != nil {
		return nil, fmt.Errorf("%w: ELF header: %w", ErrImage, err)
	}
	if err := checkHeader(&h); err != nil {
		return nil, err
	}
	progs := make([]elf.Prog64, h.Phnum)
	if err := readStruct(r, int64(h.Phoff), size, progs); err != nil {
		return nil, fmt.Errorf("%w: ELF program headers: %w", ErrImage, err)
	}
	f := &elfFile{entry: h.Entry}
	for i, p := range progs {
		if err := f.add(p, size); err != nil {
			return nil, fmt.Errorf("%w: ELF program header %d: %w", ErrImage, i, err)
		}
	}
	if len(f.loads) == 0 {
		return nil, fmt.Errorf("%w: ELF file has nothing to load", ErrImage)
	}
	return f, nil
}

func checkHeader(h *elf.Header64) error {
	switch {
	case string(h.Ident[:4]) != elf.ELFMAG:
		return fmt.Errorf("%w: no ELF file", ErrImage)
	case h.Ident[elf.EI_CLASS] != byte(elf.ELFCLASS64) || h.Ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB) || elf.Machine(h.Machine) != elf.EM_X86_64:
		return fmt.Errorf("%w: ELF file is not for 64-bit x86", ErrImage)
	case elf.Type(h.Type) != elf.ET_EXEC:
		return fmt.Errorf("%w: ELF file is %v, not an executable for fixed addresses", ErrImage, elf.Type(h.Type))
	case int(h.Phentsize) != binary.Size(elf.Prog64{}) || h.Phnum == 0 || h.Phnum > maxPrograms || h.Phoff > maxProgramTable:
		return fmt.Errorf("%w: ELF file has %d program headers of %d bytes at %#x", ErrImage, h.Phnum, h.Phentsize, h.Phoff)
	}
	return nil
}

func (f *elfFile) add(p elf.Prog64, size int64) error {
	typ := elf.ProgType(p.Type)
	if typ != elf.PT_LOAD && typ != elf.PT_NOTE {
		return nil
	}
	if p.Off+p.Filesz < p.Off || p.Off+p.Filesz > uint64(size) {
		return fmt.Errorf("%#x bytes at %#x end after the file's %#x", p.Filesz, p.Off, size)
	}
	if typ == elf.PT_NOTE {
		f.notes = append(f.notes, p)
		return nil
	}
	if p.Filesz > p.Memsz || p.Paddr+p.Memsz < p.Paddr {
		return fmt.Errorf("%#x bytes of file for %#x bytes at %#x", p.Filesz, p.Memsz, p.Paddr)
	}
	if p.Memsz > 0 {
		f.loads = append(f.loads, p)
	}
	return nil
}

// segments lists the loadable parts, whose contents are in r, at their physical
// addresses: nothing below floor.
func (f *elfFile) segments(name string, r io.ReaderAt, floor layout.GPA) ([]Segment, error) {
	var segs []Segment
	for _, p := range f.loads {
		if p.Paddr < uint64(floor) {
			return nil, fmt.Errorf("%w: %s wants %#x, below %#x", ErrImage, name, p.Paddr, floor)
		}
		segs = append(segs, Segment{
			Name: name, GPA: layout.GPA(p.Paddr), Size: p.Memsz,
			Source: r, Offset: int64(p.Off), Length: p.Filesz,
		})
	}
	return segs, nil
}

// end is the first physical address after everything that is loaded.
func (f *elfFile) end() layout.GPA {
	var end uint64
	for _, p := range f.loads {
		end = max(end, p.Paddr+p.Memsz)
	}
	return layout.GPA(end)
}

// physical is the physical address of addr, which may be one already or be
// virtual: a kernel's entry point is found in both forms. It is an error if it
// is not in the contents of a loaded part.
func (f *elfFile) physical(addr uint64) (uint64, error) {
	for _, p := range f.loads {
		if addr-p.Paddr < p.Filesz {
			return addr, nil
		}
	}
	for _, p := range f.loads {
		if addr-p.Vaddr < p.Filesz {
			return addr - p.Vaddr + p.Paddr, nil
		}
	}
	return 0, fmt.Errorf("%w: entry point %#x is not in what is loaded", ErrImage, addr)
}

// readStruct reads v, of fixed size, at off of a file of size bytes.
func readStruct(r io.ReaderAt, off, size int64, v any) error {
	n := int64(binary.Size(v))
	if off < 0 || off > size || n > size-off {
		return io.ErrUnexpectedEOF
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, off, n), b); err != nil {
		return err
	}
	return binary.Read(bytes.NewReader(b), binary.LittleEndian, v)
}
