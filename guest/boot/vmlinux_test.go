package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"splitvm/guest/layout"
)

// pvhKernel has the note behind another one, as Linux has.
func pvhKernel(desc []byte) elfSpec {
	s := testKernel()
	s.note = append(xenNote(6, []byte("linux\x00")), xenNote(noteXenPhys32Entry, desc)...)
	return s
}

func loadELF(t *testing.T, s elfSpec, p Params) (*Plan, error) {
	t.Helper()
	img := s.build(t)
	return Load(bytes.NewReader(img), int64(len(img)), p)
}

func TestPVH(t *testing.T) {
	for _, desc := range [][]byte{{0x50, 0, 0, 1}, {0x50, 0, 0, 1, 0, 0, 0, 0}} {
		t.Run(fmt.Sprintf("%d-byte note", len(desc)), func(t *testing.T) {
			kernel := pvhKernel(desc)
			initrd := noise(5000, 8)
			m := testMap(t, 64<<20)
			plan, err := loadELF(t, kernel, Params{Memory: m, Cmdline: "quiet", Initrd: bytes.NewReader(initrd), InitrdSize: 5000, RSDP: layout.ACPITables})
			if err != nil {
				t.Fatal(err)
			}
			if plan.Kind != "vmlinux, PVH entry" {
				t.Errorf("Kind = %q", plan.Kind)
			}
			mem := &ram{bytes: make([]byte, m.Size())}
			if err := plan.Place(mem); err != nil {
				t.Fatal(err)
			}
			checkParts(t, mem.bytes, kernel.parts)
			checkStartInfo(t, mem.bytes, m, 64<<20-0x2000, 5000)
			want := []Entry{{
				Mode: ModePVH, RIP: 16<<20 + 0x50, RFLAGS: 2, RBX: 0x6000, CR0: 0x11,
				CS:   SegReg{Selector: 0x08, Limit: 0xFFFFFFFF, Type: 11, S: true, Present: true, DB: true, G: true},
				Data: SegReg{Selector: 0x18, Limit: 0xFFFFFFFF, Type: 3, S: true, Present: true, DB: true, G: true},
				TR:   SegReg{Selector: 0x40, Limit: 0x67, Type: 11, Present: true},
				GDT:  Table{Base: 0x500, Limit: 79},
			}}
			if diff := cmp.Diff(want, plan.Entries); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// checkStartInfo reads struct hvm_start_info and what it points to.
func checkStartInfo(t *testing.T, mem []byte, m layout.Map, initrd, size uint64) {
	t.Helper()
	le := binary.LittleEndian
	s := mem[layout.PVHInfo:]
	got := []uint64{
		uint64(le.Uint32(s)), uint64(le.Uint32(s[4:])), uint64(le.Uint32(s[8:])), uint64(le.Uint32(s[12:])),
		le.Uint64(s[16:]), le.Uint64(s[24:]), le.Uint64(s[32:]), le.Uint64(s[40:]), uint64(le.Uint32(s[48:])), uint64(le.Uint32(s[52:])),
	}
	want := []uint64{0x336EC578, 1, 0, 1, 0x6040, 0x20000, 0xE0000, 0x7000, 6, 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("start info:\n", diff)
	}
	mod := mem[0x6040:]
	if le.Uint64(mod) != initrd || le.Uint64(mod[8:]) != size || le.Uint64(mod[16:]) != 0 {
		t.Errorf("module % x", mod[:32])
	}
	var e820 []layout.E820Entry
	for i := range m.E820() {
		e := mem[0x7000+i*24:]
		e820 = append(e820, layout.E820Entry{
			Range: layout.Range{Start: layout.GPA(le.Uint64(e)), Size: le.Uint64(e[8:])}, Type: layout.E820Type(le.Uint32(e[16:])),
		})
	}
	if diff := cmp.Diff(m.E820(), e820); diff != "" {
		t.Error("memory map:\n", diff)
	}
	if got := string(mem[layout.Cmdline:][:6]); got != "quiet\x00" {
		t.Errorf("command line %q", got)
	}
}

// Without the note a vmlinux starts at its ELF entry, be it given as a physical
// or as a virtual address.
func TestELF64Entry(t *testing.T) {
	for _, entry := range []uint64{16<<20 + 0x40, 16<<20 + 0x40 + 0xFFFF_FFFF_8000_0000} {
		kernel := testKernel()
		kernel.entry = entry
		m := testMap(t, 64<<20)
		plan, err := loadELF(t, kernel, Params{Memory: m})
		if err != nil {
			t.Fatal(err)
		}
		if e := plan.Entries[0]; e.Mode != ModeLinux64 || e.RIP != 16<<20+0x40 || e.RSI != 0x10000 {
			t.Errorf("entry %+v", e)
		}
		mem := &ram{bytes: make([]byte, m.Size())}
		if err := plan.Place(mem); err != nil {
			t.Fatal(err)
		}
		checkParts(t, mem.bytes, kernel.parts)
		z := mem.bytes[layout.ZeroPage:]
		if string(z[0x202:0x206]) != "HdrS" || z[0x210] != 0xFF || z[0x1E8] != 6 || z[0x1FE] != 0x55 {
			t.Errorf("zero page % x", z[0x1E8:0x220])
		}
	}
}

func TestELFRefused(t *testing.T) {
	good := pvhKernel([]byte{0x50, 0, 0, 1})
	img := good.build(t)
	edit := func(off int, b ...byte) []byte {
		c := bytes.Clone(img)
		copy(c[off:], b)
		return c
	}
	const load, note = 64, 64 + 2*56 // program headers
	for _, tt := range []struct {
		name, want string
		img        []byte
		is         error
	}{
		{"header only", "ELF header", img[:20], ErrImage},
		{"no program headers", "ELF program headers", img[:100], ErrImage},
		{"truncated", "end after the file", img[:0x2000], ErrImage},
		{"32-bit", "not for 64-bit x86", edit(4, 1), ErrImage},
		{"big-endian", "not for 64-bit x86", edit(5, 2), ErrImage},
		{"arm64", "not for 64-bit x86", edit(18, 0xB7), ErrImage},
		{"shared object", "not an executable", edit(16, 3), ErrImage},
		{"no headers counted", "program headers", edit(56, 0, 0), ErrImage},
		{"65535 headers", "program headers", edit(56, 0xFF, 0xFF), ErrImage},
		{"headers far away", "program headers", edit(32, 0, 0, 0, 0, 0, 0, 0, 0x80), ErrImage},
		{"odd header size", "program headers", edit(54, 55), ErrImage},
		{"offset that wraps", "end after the file", edit(load+8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF), ErrImage},
		{"more file than memory", "of file for", edit(load+40, 1, 0, 0, 0, 0, 0, 0, 0), ErrImage},
		{"address that wraps", "of file for", edit(load+24, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF), ErrImage},
		{"memory size beyond RAM", "does not fit", edit(load+40, 0, 0, 0, 0, 1), ErrRoom},
		{"huge notes", "ELF", edit(note+32, 0xFF, 0xFF, 0xFF, 0x7F), ErrImage},
		{"PVH entry outside", "entry point", pvhKernel([]byte{0, 0, 0, 0x40}).build(t), ErrImage},
		{"PVH entry too high", "no 32-bit address", pvhKernel([]byte{0x50, 0, 0, 1, 1, 0, 0, 0}).build(t), ErrImage},
		{"PVH note of 3 bytes", "no 32-bit address", pvhKernel([]byte{0x50, 0, 0}).build(t), ErrImage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(bytes.NewReader(tt.img), int64(len(tt.img)), Params{Memory: testMap(t, 64<<20)})
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %v with %q", err, tt.is, tt.want)
			}
		})
	}
}

func TestFindNote(t *testing.T) {
	word := func(v ...uint32) (b []byte) {
		for _, w := range v {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
		return b
	}
	good := xenNote(18, []byte{1, 2, 3, 4})
	for _, tt := range []struct {
		name  string
		notes []byte
		found bool
	}{
		{"alone", good, true},
		{"after one of odd size", append(xenNote(7, []byte("2.6\x00x")), good...), true},
		{"other type", xenNote(17, []byte{1, 2, 3, 4}), false},
		{"other name", append(word(4, 4, 18), "GNU\x001234"...), false},
		{"longer name", append(word(8, 4, 18), "Xen\x00Xen\x001234"...), false},
		{"empty", nil, false},
		{"cut header", good[:11], false},
		{"cut name", good[:14], false},
		{"cut descriptor", good[:19], false},
		{"name size that wraps", append(word(0xFFFFFFFF, 4, 18), "Xen\x001234"...), false},
		{"descriptor size that wraps", append(word(4, 0xFFFFFFFF, 18), "Xen\x001234"...), false},
		{"last without padding", xenNote(18, []byte{1, 2, 3, 4, 5})[:21], true},
	} {
		if desc, found := findNote(tt.notes, "Xen\x00", 18); found != tt.found || found && !bytes.HasPrefix(desc, []byte{1, 2, 3, 4}) {
			t.Errorf("%s: % x, %v", tt.name, desc, found)
		}
	}
}
