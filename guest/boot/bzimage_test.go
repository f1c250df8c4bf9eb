package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bobuhiro11/gokvm/bootparam"
	"github.com/google/go-cmp/cmp"

	"splitvm/guest/layout"
)

// Every compression gives the same guest, byte for byte.
func TestBzImageRoundTrip(t *testing.T) {
	for _, c := range compressors {
		t.Run(c.name, func(t *testing.T) {
			kernel := testKernel()
			img := bzSpec{payload: c.payload(t, kernel.build(t))}.build(t)
			initrd := noise(123_457, 9)
			m := testMap(t, 64<<20)
			plan, err := Load(bytes.NewReader(img), int64(len(img)), Params{
				Memory: m, Cmdline: "console=ttyS0 quiet", Initrd: bytes.NewReader(initrd), InitrdSize: int64(len(initrd)), RSDP: layout.ACPITables,
			})
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("bzImage, %s, 64-bit entry", c.name); plan.Kind != want {
				t.Errorf("Kind = %q, want %q", plan.Kind, want)
			}
			mem := &ram{bytes: make([]byte, m.Size())}
			if err := plan.Place(mem); err != nil {
				t.Fatal(err)
			}
			checkParts(t, mem.bytes, kernel.parts)
			initrdAt := 64<<20 - 123_457&^0xFFF - 0x1000
			if !bytes.Equal(mem.bytes[initrdAt:initrdAt+len(initrd)], initrd) {
				t.Errorf("initrd is not at %#x", initrdAt)
			}
			checkZeroPage(t, mem.bytes, uint32(initrdAt), uint32(len(initrd)))
			if got := string(mem.bytes[layout.Cmdline:][:20]); got != "console=ttyS0 quiet\x00" {
				t.Errorf("command line %q", got)
			}
			checkIdentity(t, mem.bytes, 0, plan.Entries[0].CR3, 4<<30, false)
		})
	}
}

// checkZeroPage reads struct boot_params at the offsets of the protocol
// (Documentation/arch/x86/zero-page.rst).
func checkZeroPage(t *testing.T, mem []byte, initrd, initrdSize uint32) {
	t.Helper()
	z := mem[layout.ZeroPage:][:layout.PageSize]
	le := binary.LittleEndian
	got := map[string]uint64{
		"acpi_rsdp_addr": le.Uint64(z[0x70:]), "e820_entries": uint64(z[0x1E8]), "sentinel": uint64(z[0x1EF]),
		"boot_flag": uint64(le.Uint16(z[0x1FE:])), "header": uint64(le.Uint32(z[0x202:])), "type_of_loader": uint64(z[0x210]),
		"loadflags": uint64(z[0x211]), "ramdisk_image": uint64(le.Uint32(z[0x218:])), "ramdisk_size": uint64(le.Uint32(z[0x21C:])),
		"cmd_line_ptr": uint64(le.Uint32(z[0x228:])), "cmdline_size": uint64(le.Uint32(z[0x238:])), "vid_mode": uint64(le.Uint16(z[0x1FA:])),
		"pref_address": le.Uint64(z[0x258:]), "setup_data": le.Uint64(z[0x250:]), "after header": uint64(z[0x26C]),
		"e820[3].addr": le.Uint64(z[0x2D0+3*20:]), "e820[3].size": le.Uint64(z[0x2D0+3*20+8:]), "e820[3].type": uint64(le.Uint32(z[0x2D0+3*20+16:])),
	}
	want := map[string]uint64{
		"acpi_rsdp_addr": 0xE0000, "e820_entries": 6, "sentinel": 0,
		"boot_flag": 0xAA55, "header": 0x53726448, "type_of_loader": 0xFF,
		"loadflags": 1, "ramdisk_image": uint64(initrd), "ramdisk_size": uint64(initrdSize),
		"cmd_line_ptr": 0x20000, "cmdline_size": 2047, "vid_mode": 0xFFFF,
		"pref_address": 16 << 20, "setup_data": 0, "after header": 0,
		"e820[3].addr": 1 << 20, "e820[3].size": 63 << 20, "e820[3].type": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("zero page:\n", diff)
	}
}

// checkIdentity walks the page tables as a processor does. mem is RAM from
// base on.
func checkIdentity(t *testing.T, mem []byte, base, cr3, end uint64, user bool) {
	t.Helper()
	for _, addr := range []uint64{0, 0x1234, 0x1F_FFFF, 0x20_0000, 16 << 20, 1<<30 - 1, 1 << 30, 3 << 30, end - 1} {
		if addr >= end {
			continue
		}
		got, ok := walk(mem, base, cr3, addr, user)
		if !ok || got != addr {
			t.Errorf("%#x is mapped to %#x, %v", addr, got, ok)
		}
	}
	if got, ok := walk(mem, base, cr3, (end+1<<30-1)&^(1<<30-1), user); ok {
		t.Errorf("the address after the map is mapped to %#x", got)
	}
}

// walk translates by 4-level paging; every entry must be present and writable,
// with accessed and dirty set, and for ring 3 if user.
func walk(mem []byte, base, cr3, addr uint64, user bool) (uint64, bool) {
	table := cr3
	for shift := 39; shift >= 12; shift -= 9 {
		e := binary.LittleEndian.Uint64(mem[table-base+addr>>shift&511*8:])
		need := uint64(0x23)
		leaf := shift < 39 && e&0x80 != 0
		if leaf {
			need |= 0x40
		}
		if e&need != need || (e&4 != 0) != user {
			return 0, false
		}
		table = e &^ 0xFFF & (1<<52 - 1)
		if leaf || shift == 12 {
			return table | addr&(1<<shift-1), true
		}
	}
	return 0, false
}

func TestLinux64Entry(t *testing.T) {
	kernel := testKernel()
	img := bzSpec{payload: compressors[0].payload(t, kernel.build(t))}.build(t)
	plan, err := Load(bytes.NewReader(img), int64(len(img)), Params{Memory: testMap(t, 32<<20)})
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{{
		Mode: ModeLinux64, RIP: 16<<20 + 0x40, RFLAGS: 2, RSI: 0x10000,
		CR0: 0x80010033, CR3: 0x30000, CR4: 0x20, EFER: 0x500,
		CS:   SegReg{Selector: 0x10, Limit: 0xFFFFFFFF, Type: 11, S: true, Present: true, L: true, G: true},
		Data: SegReg{Selector: 0x18, Limit: 0xFFFFFFFF, Type: 3, S: true, Present: true, DB: true, G: true},
		TR:   SegReg{Selector: 0x40, Limit: 0x67, Type: 11, Present: true},
		GDT:  Table{Base: 0x500, Limit: 79},
	}}
	if diff := cmp.Diff(want, plan.Entries); diff != "" {
		t.Error(diff)
	}
}

func TestSeed(t *testing.T) {
	img := bzSpec{payload: compressors[0].payload(t, testKernel().build(t))}.build(t)
	m := testMap(t, 32<<20)
	load := func(seed []byte) (*Plan, error) {
		return Load(bytes.NewReader(img), int64(len(img)), Params{Memory: m, Seed: seed})
	}
	plan, err := load([]byte("0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	mem := &ram{bytes: make([]byte, m.Size())}
	if err := plan.Place(mem); err != nil {
		t.Fatal(err)
	}
	if got := binary.LittleEndian.Uint64(mem.bytes[layout.ZeroPage+0x250:]); got != 0x11000 {
		t.Errorf("setup_data = %#x", got)
	}
	if want := "\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x0a\x00\x00\x000123456789\x00"; string(mem.bytes[0x11000:][:len(want)]) != want {
		t.Errorf("node %q", mem.bytes[0x11000:][:len(want)])
	}
	if _, err := load(make([]byte, MaxSeed)); err != nil {
		t.Errorf("%d bytes: %v", MaxSeed, err)
	}
	if _, err := load(make([]byte, MaxSeed+1)); err == nil {
		t.Errorf("%d bytes were taken", MaxSeed+1)
	}
}

// What is wrong with an image is said, and nothing bad is loaded.
func TestBzImageRefused(t *testing.T) {
	kernel := testKernel()
	payload := compressors[0].payload(t, kernel.build(t))
	big := func(s elfSpec) []byte { return bzSpec{payload: compressors[0].payload(t, s.build(t))}.build(t) }
	edit := func(f func(*bootparam.SetupHeader)) []byte { return bzSpec{payload: payload, edit: f}.build(t) }
	good := bzSpec{payload: payload}.build(t)
	for _, tt := range []struct {
		name, want string
		img        []byte
		is         error
	}{
		{"empty", "0 bytes", nil, ErrImage},
		{"text", "neither a bzImage nor an ELF file", bytes.Repeat([]byte("hello "), 1000), ErrImage},
		{"truncated", "is the file whole?", good[:len(good)/2], ErrImage},
		{"header only", "too few", good[:0x250], ErrImage},
		{"32-bit", "32-bit kernel", edit(func(h *bootparam.SetupHeader) { h.XloadFlags = 0 }), ErrImage},
		{"old", "protocol 2.10", edit(func(h *bootparam.SetupHeader) { h.Version = 0x20A }), ErrImage},
		{"short header", "32-bit kernel", edit(func(h *bootparam.SetupHeader) { h.Jump = 0xEB | 0x20<<8 }), ErrImage},
		{"payload elsewhere", "is the file whole?", edit(func(h *bootparam.SetupHeader) { h.PayloadOffset = 0xFFFF_FFFF }), ErrImage},
		{"no payload", "is the file whole?", edit(func(h *bootparam.SetupHeader) { h.PayloadLength = 0 }), ErrImage},
		{"unknown compression", "no known compression", bzSpec{payload: make([]byte, 100)}.build(t), ErrImage},
		{"preferred address too high", "above the RAM", edit(func(h *bootparam.SetupHeader) { h.PrefAddress = 1 << 63 }), ErrImage},
		{"not enough memory", "give it at least 81 MiB", edit(func(h *bootparam.SetupHeader) { h.InitSize = 64 << 20 }), ErrRoom},
		{"no ELF in it", "no ELF file", bzSpec{payload: compressors[0].payload(t, noise(5000, 3))}.build(t), ErrImage},
		{"below 1 MiB", "below 0x100000", big(elfSpec{entry: 0x1000, parts: []part{{paddr: 0x1000, data: noise(100, 1)}}}), ErrImage},
		{"entry outside", "entry point", big(elfSpec{entry: 5, parts: kernel.parts}), ErrImage},
		{"overlap", "runs into", big(elfSpec{entry: 16 << 20, parts: []part{
			{paddr: 16 << 20, data: noise(9000, 1)}, {paddr: 16<<20 + 8999, data: noise(10, 1)}}}), ErrImage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(bytes.NewReader(tt.img), int64(len(tt.img)), Params{Memory: testMap(t, 32<<20)})
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q; want %q with %q", err, tt.is, tt.want)
			}
		})
	}
}

// A payload that is damaged after its headers shows when it is placed.
func TestDamagedPayload(t *testing.T) {
	for _, c := range compressors {
		t.Run(c.name, func(t *testing.T) {
			payload := c.payload(t, testKernel().build(t))
			cut := append([]byte{}, payload[:len(payload)-len(payload)/8]...)
			cut = append(cut, payload[len(payload)-4:]...)
			img := bzSpec{payload: cut}.build(t)
			m := testMap(t, 64<<20)
			plan, err := Load(bytes.NewReader(img), int64(len(img)), Params{Memory: m})
			if err == nil {
				err = plan.Place(&ram{bytes: make([]byte, m.Size())})
			}
			if !errors.Is(err, ErrImage) || !strings.Contains(err.Error(), c.name+" payload") {
				t.Errorf("error %v, want %v", err, ErrImage)
			}
		})
	}
}

func TestCmdlineLimits(t *testing.T) {
	img := bzSpec{payload: compressors[0].payload(t, testKernel().build(t)), edit: func(h *bootparam.SetupHeader) { h.CmdlineSize = 100 }}.build(t)
	load := func(s string) error {
		_, err := Load(bytes.NewReader(img), int64(len(img)), Params{Memory: testMap(t, 32<<20), Cmdline: s})
		return err
	}
	if err := load(strings.Repeat("x", 100)); err != nil {
		t.Errorf("100 bytes of 100: %v", err)
	}
	if err := load(strings.Repeat("x", 101)); err == nil || !strings.Contains(err.Error(), "at most 100") {
		t.Errorf("101 bytes of 100: %v", err)
	}
	if err := load("a\x00b"); err == nil {
		t.Error("a NUL byte was taken")
	}
}

func TestInitrdPlacement(t *testing.T) {
	img := bzSpec{payload: compressors[0].payload(t, testKernel().build(t))}.build(t)
	for _, tt := range []struct {
		name   string
		memory uint64
		size   int64
		want   layout.GPA // 0: ErrRoom
	}{
		{"fills the RAM above the kernel", 32 << 20, 12 << 20, 20 << 20},
		{"one byte too many", 32 << 20, 12<<20 + 1, 0},
		{"under initrd_addr_max", 4 << 30, 1, 2<<30 - 0x1000},
		{"below 4 GiB in a large guest", 64 << 30, 5000, 2<<30 - 0x2000},
		{"absurd", 32 << 20, 1<<63 - 1, 0},
		{"negative", 32 << 20, -1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan, err := Load(bytes.NewReader(img), int64(len(img)), Params{Memory: testMap(t, tt.memory), Initrd: bytes.NewReader(nil), InitrdSize: tt.size})
			if tt.want == 0 {
				if !errors.Is(err, ErrRoom) {
					t.Errorf("error %v, want %v", err, ErrRoom)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range plan.Segments {
				if s.Name == "initrd" && (s.GPA != tt.want || s.Size != uint64(tt.size)) {
					t.Errorf("initrd at %#x, %d bytes; want %#x, %d", s.GPA, s.Size, tt.want, tt.size)
				}
			}
		})
	}
}
