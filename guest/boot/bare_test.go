package boot

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"splitvm/guest/layout"
)

func bareProgram() elfSpec {
	return elfSpec{entry: 1<<20 + 4, parts: []part{{paddr: 1 << 20, data: noise(5000, 4), bss: 100}}}
}

func loadBare(t *testing.T, spec elfSpec, p BareParams) (*Plan, error) {
	t.Helper()
	img := spec.build(t)
	return LoadBare(bytes.NewReader(img), int64(len(img)), p)
}

func TestBare(t *testing.T) {
	spec := bareProgram()
	m := testMap(t, 4<<20)
	plan, err := loadBare(t, spec, BareParams{
		Memory: m, VCPUs: []BareArgs{{RDI: 0x11_0000}, {RDI: 0x11_1000, RSI: 1, RDX: 2, RCX: 3}}, StackSize: 4096,
		Data: []Segment{{Name: "block", GPA: 0x11_0000, Size: 9, Data: []byte("parameter")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	mem := &ram{bytes: make([]byte, m.Size())}
	if err := plan.Place(mem); err != nil {
		t.Fatal(err)
	}
	checkParts(t, mem.bytes, spec.parts)
	if got := string(mem.bytes[0x11_0000:][:9]); got != "parameter" {
		t.Errorf("data %q", got)
	}
	checkIdentity(t, mem.bytes, 0, plan.Entries[0].CR3, 4<<30, true)
	entry := Entry{
		Mode: ModeUser64, RIP: 1<<20 + 4, RSP: 4<<20 - 8, RFLAGS: 0x3002, RDI: 0x11_0000,
		CR0: 0x80010033, CR3: 0x30000, CR4: 0x620, EFER: 0x501,
		CS:   SegReg{Selector: 0x33, Limit: 0xFFFFFFFF, Type: 11, DPL: 3, S: true, Present: true, L: true, G: true},
		Data: SegReg{Selector: 0x2b, Limit: 0xFFFFFFFF, Type: 3, DPL: 3, S: true, Present: true, DB: true, G: true},
		TR:   SegReg{Selector: 0x40, Base: 0x12000, Limit: 0x2068, Type: 11, Present: true},
		GDT:  Table{Base: 0x500, Limit: 79},
	}
	second := entry
	second.RSP, second.RDI, second.RSI, second.RDX, second.RCX = 4<<20-4096-8, 0x11_1000, 1, 2, 3
	if diff := cmp.Diff([]Entry{entry, second}, plan.Entries); diff != "" {
		t.Error(diff)
	}
}

// The tables map all RAM of machines of every size, and stay in their place.
func TestBarePageTables(t *testing.T) {
	for _, tt := range []struct {
		name string
		size uint64
		huge bool
		want layout.GPA
	}{
		{"smallest", layout.MinRAM, false, layout.PageTables},
		{"8 GiB", 8 << 30, false, layout.PageTables},
		{"90 GiB", 90 << 30, false, layout.PageTables},
		{"1 TiB in 1 GiB pages", layout.MaxRAM, true, layout.PageTables},
		{"200 GiB", 200 << 30, false, layout.LowRAMEnd - (1+1+201)*layout.PageSize},
		{"1 TiB", layout.MaxRAM, false, layout.LowRAMEnd - (1+3+1025)*layout.PageSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := testMap(t, tt.size)
			plan, err := loadBare(t, bareProgram(), BareParams{Memory: m, VCPUs: make([]BareArgs, 1), HugePages: tt.huge})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range plan.Segments {
				if s.Name != "page tables" {
					continue
				}
				if s.GPA != tt.want || plan.Entries[0].CR3 != uint64(tt.want) {
					t.Fatalf("page tables at %#x, CR3 %#x; want %#x", s.GPA, plan.Entries[0].CR3, tt.want)
				}
				checkIdentity(t, s.Data, uint64(s.GPA), uint64(s.GPA), uint64(m.End()), true)
			}
		})
	}
}

func TestBareRefused(t *testing.T) {
	good := bareProgram()
	at := func(gpa uint64) elfSpec {
		return elfSpec{entry: gpa, parts: []part{{paddr: gpa, data: noise(5000, 4)}}}
	}
	seg := func(gpa layout.GPA, n uint64) []Segment { return []Segment{{Name: "data", GPA: gpa, Size: n}} }
	for _, tt := range []struct {
		name, want string
		spec       elfSpec
		p          BareParams
	}{
		{"at 0", "below 0x1000", at(0), BareParams{}},
		{"over the page tables", "runs into", at(0x2F000), BareParams{}},
		{"outside RAM", "does not fit", at(4 << 20), BareParams{}},
		{"in the hole", "does not fit", at(0xC000_0000), BareParams{}},
		{"virtual entry", "entry point", elfSpec{entry: 1<<20 + 0xFFFF_FFFF_8000_0000, parts: good.parts}, BareParams{}},
		{"data over the program", "runs into", good, BareParams{Data: seg(1<<20+4999, 1)}},
		{"data outside", "does not fit", good, BareParams{Data: seg(4<<20-1, 2)}},
		{"data that wraps", "does not fit", good, BareParams{Data: seg(^layout.GPA(0), 2)}},
		{"contents larger than the segment", "for 0x1", good, BareParams{Data: []Segment{{Name: "data", GPA: 0x11_0000, Size: 1, Data: []byte("ab")}}}},
		{"odd stacks", "multiple of 16", good, BareParams{StackSize: 17}},
		{"stacks over the program", "runs into", good, BareParams{StackSize: 3 << 20}},
		{"stacks larger than memory", "does not fit", good, BareParams{StackSize: 1 << 30}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.p.Memory, tt.p.VCPUs = testMap(t, 4<<20), make([]BareArgs, 1)
			_, err := loadBare(t, tt.spec, tt.p)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want one with %q", err, tt.want)
			}
		})
	}
	if _, err := LoadBare(strings.NewReader("\x7fELF"), 4, BareParams{Memory: testMap(t, 4<<20)}); !errors.Is(err, ErrImage) {
		t.Errorf("a file of 4 bytes: %v", err)
	}
}
