package acpi

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// unhex reads bytes that are written with spaces.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPkgLength(t *testing.T) {
	for _, tt := range []struct {
		n    int // bytes after the length
		want string
	}{
		{0, "01"},
		{62, "3f"},              // the longest with one byte: 63 in all
		{63, "41 04"},           // 65
		{64, "42 04"},           // 66
		{4093, "4f ff"},         // 4095, the longest with two
		{4094, "81 00 01"},      // 4097
		{1<<20 - 4, "8f ff ff"}, // 2^20-1, the longest with three
		{1<<20 - 3, "c1 00 00 01"},
		{1<<28 - 5, "cf ff ff ff"},
	} {
		if got := pkgLength(tt.n); !bytes.Equal(got, unhex(t, tt.want)) {
			t.Errorf("pkgLength(%d) = % x, want %s", tt.n, got, tt.want)
		}
	}
}

func TestAML(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"zero", integer(0), "00"},
		{"one", integer(1), "01"},
		{"byte", integer(0xFF), "0a ff"},
		{"word", integer(0x100), "0b 00 01"},
		{"dword", integer(0x1_0000), "0c 00 00 01 00"},
		{"qword", integer(1 << 32), "0e 00 00 00 00 01 00 00 00"},
		{"string", text("COM1"), "0d 43 4f 4d 31 00"},
		{"PNP0A08", eisaID("PNP0A08"), "0c 41 d0 0a 08"},
		{"PNP0501", eisaID("PNP0501"), "0c 41 d0 05 01"},
		{"padded name", nameString("_S5"), "5f 53 35 5f"},
		{"root", nameString(`\_SB`), "5c 5f 53 42 5f"},
		{"two segments", nameString(`\_SB.PCI0`), "5c 2e 5f 53 42 5f 50 43 49 30"},
		{"three segments", nameString("_SB.PCI0.X"), "2f 03 5f 53 42 5f 50 43 49 30 58 5f 5f 5f"},
		{"name", name("_UID", integer(1)), "08 5f 55 49 44 01"},
		{"package", pkg(integer(5), integer(0)), "12 05 02 0a 05 00"},
		{"buffer", buffer([]byte{0xAA, 0xBB}), "11 05 0a 02 aa bb"},
		{"device", device("COM1", name("_UID", integer(0))), "5b 82 0b 43 4f 4d 31 08 5f 55 49 44 00"},
		{"scope", scope("_SB"), "10 05 5f 53 42 5f"},
		{"resources", resources(irq(4)), "11 08 0a 05 22 10 00 79 00"},
	} {
		if !bytes.Equal(tt.got, unhex(t, tt.want)) {
			t.Errorf("%s: % x, want %s", tt.name, tt.got, tt.want)
		}
	}
}
