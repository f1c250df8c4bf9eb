package mptable

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"splitvm/guest/layout"
)

// parsed is what a kernel reads out of the table (arch/x86/kernel/mpparse.c).
type parsed struct {
	LAPIC  uint32
	CPUs   []string
	Others []string
}

func sum(b []byte) (s byte) {
	for _, c := range b {
		s += c
	}
	return s
}

// parse goes from the floating pointer to the last entry.
func parse(t *testing.T, b []byte) parsed {
	t.Helper()
	le := binary.LittleEndian
	if string(b[:4]) != "_MP_" || b[8] != 1 || b[9] != 4 || sum(b[:16]) != 0 {
		t.Fatalf("floating pointer % x", b[:16])
	}
	at := le.Uint32(b[4:]) - uint32(layout.MPTable)
	m := b[at:]
	if n := int(le.Uint16(m[4:])); string(m[:4]) != "PCMP" || n != len(m) || sum(m) != 0 || m[6] != 4 {
		t.Fatalf("header % x for %d bytes", m[:44], len(m))
	}
	p := parsed{LAPIC: le.Uint32(m[36:])}
	count, m := int(le.Uint16(m[34:])), m[44:]
	for ; len(m) > 0; count-- {
		if m[0] == 0 {
			p.CPUs = append(p.CPUs, fmt.Sprintf("apic %d version %#x flags %d signature %#x features %#x", m[1], m[2], m[3], le.Uint32(m[4:]), le.Uint32(m[8:])))
			m = m[20:]
			continue
		}
		p.Others = append(p.Others, fmt.Sprintf("% x", m[:8]))
		m = m[8:]
	}
	if count != 0 {
		t.Errorf("the header counts %d entries more than there are", count)
	}
	return p
}

func TestTable(t *testing.T) {
	b, err := Table(2)
	if err != nil {
		t.Fatal(err)
	}
	want := parsed{
		LAPIC: 0xFEE00000,
		CPUs: []string{
			"apic 0 version 0x14 flags 3 signature 0x600 features 0x201",
			"apic 1 version 0x14 flags 1 signature 0x600 features 0x201",
		},
		Others: []string{
			"01 00 49 53 41 20 20 20", // ISA
			"02 00 11 01 00 00 c0 fe",
			"03 00 00 00 00 00 00 02", // the timer
			"03 00 00 00 00 01 00 01",
			"03 00 00 00 00 03 00 03",
			"03 00 00 00 00 04 00 04",
			"03 00 00 00 00 05 00 05",
			"03 00 00 00 00 06 00 06",
			"03 00 00 00 00 07 00 07",
			"03 00 00 00 00 08 00 08",
			"03 00 00 00 00 09 00 09",
			"03 00 00 00 00 0a 00 0a",
			"03 00 00 00 00 0b 00 0b",
			"03 00 00 00 00 0c 00 0c",
			"03 00 00 00 00 0d 00 0d",
			"03 00 00 00 00 0e 00 0e",
			"03 00 00 00 00 0f 00 0f",
			"04 03 00 00 00 00 00 00",
			"04 01 00 00 00 00 ff 01",
		},
	}
	if diff := cmp.Diff(want, parse(t, b)); diff != "" {
		t.Error(diff)
	}
}

func TestCounts(t *testing.T) {
	for _, cpus := range []int{1, 3, 64} {
		b, err := Table(cpus)
		if err != nil {
			t.Fatal(err)
		}
		if p := parse(t, b); len(p.CPUs) != cpus || len(p.Others) != 19 {
			t.Errorf("%d CPUs: %d and %d others", cpus, len(p.CPUs), len(p.Others))
		}
		if len(b) > layout.MPTableMax {
			t.Errorf("%d CPUs: %d bytes", cpus, len(b))
		}
	}
	for _, cpus := range []int{-1, 0, 65} {
		if _, err := Table(cpus); err == nil {
			t.Errorf("a table for %d CPUs", cpus)
		}
	}
}
