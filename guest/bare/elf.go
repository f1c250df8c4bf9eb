//go:build amd64

package bare

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// ELF wraps a program into a static ELF64 executable with one segment at
// CodeAt, where it is also entered.
func ELF(p Program) []byte {
	code := p.Code()
	var ident [elf.EI_NIDENT]byte
	copy(ident[:], elf.ELFMAG)
	ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	headers := uint64(binary.Size(elf.Header64{}) + binary.Size(elf.Prog64{}))
	var b bytes.Buffer
	put(&b, elf.Header64{
		Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Entry: CodeAt, Phoff: uint64(binary.Size(elf.Header64{})), Ehsize: uint16(binary.Size(elf.Header64{})),
		Phentsize: uint16(binary.Size(elf.Prog64{})), Phnum: 1, Shentsize: uint16(binary.Size(elf.Section64{})),
	})
	put(&b, elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Off: headers, Vaddr: CodeAt, Paddr: CodeAt,
		Filesz: uint64(len(code)), Memsz: uint64(len(code)), Align: 1,
	})
	b.Write(code)
	return b.Bytes()
}

// put appends a structure of fixed size, which cannot fail.
func put(b *bytes.Buffer, v any) {
	if err := binary.Write(b, binary.LittleEndian, v); err != nil {
		panic("bare: " + err.Error())
	}
}
