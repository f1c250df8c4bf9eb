//go:build amd64

package bare

import (
	"bytes"
	"debug/elf"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestELF(t *testing.T) {
	for _, p := range Programs() {
		f, err := elf.NewFile(bytes.NewReader(ELF(p)))
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		want := []elf.ProgHeader{{
			Type: elf.PT_LOAD, Flags: elf.PF_R | elf.PF_X, Off: 120, Vaddr: CodeAt, Paddr: CodeAt,
			Filesz: uint64(len(p.Code())), Memsz: uint64(len(p.Code())), Align: 1,
		}}
		var got []elf.ProgHeader
		for _, s := range f.Progs {
			got = append(got, s.ProgHeader)
		}
		if diff := cmp.Diff(want, got); diff != "" || f.Entry != CodeAt || f.Type != elf.ET_EXEC {
			t.Errorf("%s: entry %#x, %v, %s", p.Name, f.Entry, f.Type, diff)
		}
		code, err := f.Progs[0].Open(), error(nil)
		got2 := make([]byte, len(p.Code()))
		if _, err = code.Read(got2); err != nil || !bytes.Equal(got2, p.Code()) {
			t.Errorf("%s: segment is not the code (%v)", p.Name, err)
		}
	}
}

// Every program ends with the write to the exit port and the loop behind it:
// out dx, eax; pause; jmp to the pause.
func TestCodeIsWhole(t *testing.T) {
	var last []byte
	for _, p := range Programs() {
		if p.Name == Greet.Name || p.Name == Off.Name || p.Name == Echo.Name || p.Name == Chat.Name || p.Name == Roam.Name {
			last = []byte{0xf4, 0xeb, 0xfd} // hlt; jmp to it
		} else {
			last = []byte{0xef, 0xf3, 0x90, 0xeb, 0xfc}
		}
		if c := p.Code(); !bytes.HasSuffix(c, last) || len(c) > MaxCode {
			t.Errorf("%s: %d bytes, the last are % x", p.Name, len(c), c[max(0, len(c)-8):])
		}
	}
}

// The sizes that hosts compute with are those of the structures.
func TestSizes(t *testing.T) {
	if n := len(new(Block).Bytes()); n > BlockStride {
		t.Errorf("a block has %d bytes", n)
	}
	if n := len(new(Histogram).Bytes()); n > HistogramStride {
		t.Errorf("a histogram has %d bytes", n)
	}
	if e, o, c := len(bytesOf(new(Event))), len(bytesOf(new(Op))), len(bytesOf(new(Class))); e != EventSize || o != OpSize || c != ClassSize {
		t.Errorf("Event %d, Op %d, Class %d bytes", e, o, c)
	}
	if BlockAt(MaxVCPUs) > HistogramAt || HistogramFor(MaxVCPUs) > TablesAt || TablesAt+MaxTables > Memory || CodeAt+MaxCode > BlocksAt {
		t.Error("areas overlap")
	}
}
