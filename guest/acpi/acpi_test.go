package acpi

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"splitvm/guest/layout"
)

// firmware reads tables as a guest does: from the RSDP, by address.
type firmware []byte

func (f firmware) at(gpa uint64) []byte { return f[gpa-uint64(layout.ACPITables):] }

// table checks the length and checksum of what is at gpa.
func (f firmware) table(t *testing.T, gpa uint64) []byte {
	t.Helper()
	b := f.at(gpa)
	b = b[:binary.LittleEndian.Uint32(b[4:])]
	if sum(b) != 0 {
		t.Errorf("%s adds up to %#x", b[:4], sum(b))
	}
	return b
}

func sum(b []byte) (s byte) {
	for _, c := range b {
		s += c
	}
	return s
}

// tables follows every pointer, by signature.
func (f firmware) tables(t *testing.T) map[string][]byte {
	t.Helper()
	if string(f[:8]) != "RSD PTR " || f[15] != 2 || sum(f[:20]) != 0 || sum(f[:36]) != 0 {
		t.Fatalf("RSDP % x", f[:36])
	}
	xsdt := f.table(t, binary.LittleEndian.Uint64(f[24:]))
	all := map[string][]byte{}
	for p := xsdt[headerSize:]; len(p) > 0; p = p[8:] {
		b := f.table(t, binary.LittleEndian.Uint64(p))
		all[string(b[:4])] = b
	}
	fadt := all["FACP"]
	if x, old := binary.LittleEndian.Uint64(fadt[140:]), binary.LittleEndian.Uint32(fadt[40:]); x != uint64(old) {
		t.Errorf("DSDT at %#x and %#x", old, x)
	}
	all["DSDT"] = f.table(t, binary.LittleEndian.Uint64(fadt[140:]))
	facsAt := binary.LittleEndian.Uint32(fadt[36:])
	all["FACS"] = f.at(uint64(facsAt))[:64]
	if facsAt%64 != 0 || string(all["FACS"][:8]) != "FACS\x40\x00\x00\x00" {
		t.Errorf("FACS at %#x: % x", facsAt, all["FACS"][:8])
	}
	return all
}

func TestTables(t *testing.T) {
	for _, cpus := range []int{1, 2, 64} {
		b, err := Tables(Config{CPUs: cpus})
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > layout.ACPIMax {
			t.Errorf("%d CPUs: %d bytes", cpus, len(b))
		}
		all := firmware(b).tables(t)
		sizes := map[string]int{}
		for name, b := range all {
			sizes[name] = len(b)
		}
		delete(sizes, "DSDT") // by iasl
		want := map[string]int{"FACP": 276, "APIC": 44 + 8*cpus + 12 + 10 + 10 + 6, "MCFG": 60, "FACS": 64}
		if diff := cmp.Diff(want, sizes); diff != "" {
			t.Errorf("%d CPUs: sizes\n%s", cpus, diff)
		}
	}
	for _, cpus := range []int{-1, 0, 65} {
		if _, err := Tables(Config{CPUs: cpus}); err == nil {
			t.Errorf("tables for %d CPUs", cpus)
		}
	}
}

func TestMADT(t *testing.T) {
	want := unhex(t, ""+
		"0000e0fe 01000000"+ // local APIC address, PC-AT compatible
		"0008 00 00 01000000"+ // CPU 0
		"0008 01 01 01000000"+ // CPU 1
		"010c 00 00 0000c0fe 00000000"+ // I/O APIC 0 from GSI 0
		"020a 00 00 02000000 0000"+ // IRQ 0 is GSI 2
		"020a 00 09 09000000 0d00"+ // IRQ 9 is level, active high
		"0406 ff 0000 01") // NMI at LINT1 of all
	if diff := cmp.Diff(want, madt(2)[headerSize:]); diff != "" {
		t.Error(diff)
	}
}

func TestMCFG(t *testing.T) {
	want := unhex(t, "0000000000000000 000000e000000000 0000 00 00 00000000")
	if diff := cmp.Diff(want, mcfg()[headerSize:]); diff != "" {
		t.Error(diff)
	}
}

// The fixed hardware is where package layout has it, by the offsets of the
// specification.
func TestFADT(t *testing.T) {
	b := fadt(0xE_0040, 0xE_0080, false)
	le := binary.LittleEndian
	got := map[string]uint64{
		"SCI_INT": uint64(le.Uint16(b[46:])), "SMI_CMD": uint64(le.Uint32(b[48:])),
		"PM1a_EVT_BLK": uint64(le.Uint32(b[56:])), "PM1a_CNT_BLK": uint64(le.Uint32(b[64:])), "PM_TMR_BLK": uint64(le.Uint32(b[76:])),
		"IAPC_BOOT_ARCH": uint64(le.Uint16(b[109:])), "Flags": uint64(le.Uint32(b[112:])),
		"RESET_REG": le.Uint64(b[116:]) & 0xFFFFFFFF, "RESET_REG address": le.Uint64(b[120:]), "RESET_VALUE": uint64(b[128]),
		"X_PM1a_EVT_BLK": le.Uint64(b[152:]), "X_PM1a_CNT_BLK": le.Uint64(b[176:]), "X_PM_TMR_BLK": le.Uint64(b[212:]),
	}
	want := map[string]uint64{
		"SCI_INT": 9, "SMI_CMD": 0,
		"PM1a_EVT_BLK": 0x600, "PM1a_CNT_BLK": 0x604, "PM_TMR_BLK": 0x608,
		"IAPC_BOOT_ARCH": 0b101, "Flags": 0x1575,
		"RESET_REG": 0x01000801, "RESET_REG address": 0xCF9, "RESET_VALUE": 6,
		"X_PM1a_EVT_BLK": 0x600, "X_PM1a_CNT_BLK": 0x604, "X_PM_TMR_BLK": 0x608,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	const fixedPowerButton = 1 << 4
	if on := le.Uint32(fadt(0, 0, true)[112:]); on != uint32(want["Flags"])&^fixedPowerButton {
		t.Errorf("flags with a power button %#x", on)
	}
}
