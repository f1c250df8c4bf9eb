package boot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/bobuhiro11/gokvm/bootparam"

	"splitvm/guest/layout"
)

// part is a loadable part of a synthetic ELF file.
type part struct {
	paddr uint64
	data  []byte
	bss   uint64
}

// elfSpec describes a synthetic kernel.
type elfSpec struct {
	entry uint64
	parts []part
	note  []byte // PT_NOTE contents; none if empty
}

// build lays the file out: headers, then the parts with odd gaps between them,
// in which there are bytes that must not be loaded.
func (s elfSpec) build(t testing.TB) []byte {
	t.Helper()
	progs := make([]elf.Prog64, 0, len(s.parts)+1)
	off := uint64(0x1000)
	var body bytes.Buffer
	emit := func(b []byte) uint64 {
		at := off
		body.Write(b)
		gap := bytes.Repeat([]byte{0xEE}, 0x123)
		body.Write(gap)
		off += uint64(len(b) + len(gap))
		return at
	}
	for _, p := range s.parts {
		progs = append(progs, elf.Prog64{
			Type: uint32(elf.PT_LOAD), Off: emit(p.data), Vaddr: p.paddr + 0xFFFF_FFFF_8000_0000, Paddr: p.paddr,
			Filesz: uint64(len(p.data)), Memsz: uint64(len(p.data)) + p.bss,
		})
	}
	if len(s.note) > 0 {
		progs = append(progs, elf.Prog64{Type: uint32(elf.PT_NOTE), Off: emit(s.note), Filesz: uint64(len(s.note)), Memsz: uint64(len(s.note))})
	}
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: s.entry,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(progs)),
	}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	var file bytes.Buffer
	binary.Write(&file, binary.LittleEndian, h)
	binary.Write(&file, binary.LittleEndian, progs)
	file.Write(make([]byte, 0x1000-file.Len()))
	file.Write(body.Bytes())
	return file.Bytes()
}

// xenNote is an ELF note of Xen's.
func xenNote(typ uint32, desc []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 4)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
	b = binary.LittleEndian.AppendUint32(b, typ)
	b = append(b, "Xen\x00"...)
	b = append(b, desc...)
	return append(b, make([]byte, (4-len(desc)%4)%4)...)
}

// bzSpec describes a synthetic bzImage.
type bzSpec struct {
	payload []byte
	edit    func(*bootparam.SetupHeader)
}

const bzSetupSects = 3

// build makes the image: boot sector, setup sectors, protected-mode part with
// the payload at an odd offset, and a tail.
func (s bzSpec) build(t testing.TB) []byte {
	t.Helper()
	const payloadOffset = 0x2CC
	hdr := bootparam.SetupHeader{
		SetupSects: bzSetupSects, BootFlag: bootFlag, Jump: 0xEB | 0x6A<<8, Header: bootparam.MagicSignature, Version: 0x20F,
		LoadFlags: bootparam.LoadedHigh, InitrdAddrMax: 0x7FFF_FFFF, KernelAlignment: layout.Page2M, RelocatableKernel: 1,
		XloadFlags: 0x7F, CmdlineSize: 2047, PayloadOffset: payloadOffset, PayloadLength: uint32(len(s.payload)),
		PrefAddress: 16 << 20, InitSize: 4 << 20,
	}
	if s.edit != nil {
		s.edit(&hdr)
	}
	img := make([]byte, (bzSetupSects+1)*sectorSize+payloadOffset)
	if _, err := binary.Encode(img[setupHeaderStart:], binary.LittleEndian, hdr); err != nil {
		t.Fatal(err)
	}
	for i := 0x26C; i < 0x300; i++ {
		img[i] = 0x90 // code after the header
	}
	img = append(img, s.payload...)
	return append(img, "tail"...)
}

// noise is n bytes that compress somewhat: words from a small dictionary,
// random ones, calls (which the x86 filter rewrites) and pages of zeroes.
func noise(n int, seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 0, n+4096)
	for len(b) < n {
		switch rnd.IntN(8) {
		case 0:
			b = append(b, make([]byte, rnd.IntN(9000))...)
		case 1:
			b = binary.LittleEndian.AppendUint64(b, rnd.Uint64())
		case 2:
			b = append(b, 0xE8)
			b = binary.LittleEndian.AppendUint32(b, uint32(rnd.IntN(1<<20)-1<<19))
		default:
			b = append(b, "the quick brown fox jumps over"[rnd.IntN(10):][:20]...)
		}
	}
	return b[:n]
}

// testKernel is a kernel with two parts, zero-fill and a 64-bit entry.
func testKernel() elfSpec {
	return elfSpec{
		entry: 16<<20 + 0x40,
		parts: []part{
			{paddr: 16 << 20, data: noise(300_001, 1)},
			{paddr: 17 << 20, data: noise(70_000, 2), bss: 12_345},
		},
	}
}

// ram collects what is placed; untouched bytes are zero.
type ram struct {
	bytes  []byte
	writes int
}

func (r *ram) WriteAt(p []byte, gpa layout.GPA) error {
	if uint64(gpa)+uint64(len(p)) > uint64(len(r.bytes)) {
		return io.ErrShortWrite
	}
	copy(r.bytes[gpa:], p)
	r.writes++
	return nil
}

func testMap(t testing.TB, size uint64) layout.Map {
	t.Helper()
	m, err := layout.New(size)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkParts compares the kernel's parts in RAM, zero-fill included.
func checkParts(t *testing.T, mem []byte, parts []part) {
	t.Helper()
	for _, p := range parts {
		end := p.paddr + uint64(len(p.data))
		if !bytes.Equal(mem[p.paddr:end], p.data) {
			t.Errorf("part at %#x differs", p.paddr)
		}
		if !bytes.Equal(mem[end:end+p.bss], make([]byte, p.bss)) {
			t.Errorf("zero-fill after part at %#x is not zero", p.paddr)
		}
	}
}
