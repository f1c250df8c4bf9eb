package excache

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

func newTable(t testing.TB, lines uint64) (*Table, []byte) {
	t.Helper()
	mem := make([]byte, FileSize(lines))
	if err := Format(mem, lines); err != nil {
		t.Fatal(err)
	}
	table, err := OpenTable(mem)
	if err != nil {
		t.Fatal(err)
	}
	return table, mem
}

func TestTableStartsZero(t *testing.T) {
	table, _ := newTable(t, 5)
	if table.Lines() != 5 {
		t.Errorf("Lines() = %d, want 5", table.Lines())
	}
	for l := range table.Lines() {
		if e := table.At(l); e != MakeEntry(Zero, 0) {
			t.Errorf("line %d starts as %v, want Zero", l, e)
		}
	}
}

func TestTableCarriesOver(t *testing.T) {
	table, mem := newTable(t, 8)
	if _, err := table.Step(3, WriteFault); err != nil {
		t.Fatal(err)
	}
	if g, err := table.NextGeneration(); g != 1 || err != nil {
		t.Fatalf("NextGeneration() = %d, %v, want 1", g, err)
	}
	again, err := OpenTable(mem)
	if err != nil {
		t.Fatal(err)
	}
	if e, want := again.At(3), MakeEntry(Opening, Blank); e != want || again.Generation() != 1 {
		t.Errorf("reopened: line 3 is %v in generation %d, want %v in 1", e, again.Generation(), want)
	}
}

func TestOpenTableRefusesGarbage(t *testing.T) {
	put32 := func(off int, v uint32) func([]byte) []byte {
		return func(m []byte) []byte { binary.LittleEndian.PutUint32(m[off:], v); return m }
	}
	put64 := func(off int, v uint64) func([]byte) []byte {
		return func(m []byte) []byte { binary.LittleEndian.PutUint64(m[off:], v); return m }
	}
	for _, c := range []struct {
		name   string
		damage func([]byte) []byte
		want   string
	}{
		{"empty", func(m []byte) []byte { return nil }, "shorter than a header"},
		{"cut", func(m []byte) []byte { return m[:len(m)-1] }, "says 8 lines"},
		{"long", func(m []byte) []byte { return append(m, 0) }, "says 8 lines"},
		{"magic", put64(offMagic, 7), "wrong magic"},
		{"version", put32(offVersion, 2), "version 2"},
		{"line size", put32(offLineShift, 16), "2^16"},
		{"no lines", put64(offLines, 0), "says 0 lines"},
		{"overflow", put64(offLines, 1<<63), "lines in a file"},
		{"reserved", put32(headerSize-4, 1), "reserved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, mem := newTable(t, 8)
			_, err := OpenTable(c.damage(mem))
			if !errors.Is(err, ErrTable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want ErrTable with %q", err, c.want)
			}
		})
	}
}

func TestFormatRefuses(t *testing.T) {
	for _, c := range []struct {
		lines uint64
		size  int
	}{{0, headerSize}, {MaxLines + 1, headerSize}, {8, headerSize + 7}, {1 << 63, headerSize}} {
		if err := Format(make([]byte, c.size), c.lines); err == nil {
			t.Errorf("Format of %d lines in %d bytes succeeded", c.lines, c.size)
		}
	}
}

func TestStepOnDamagedEntry(t *testing.T) {
	table, mem := newTable(t, 2)
	for b := range 256 {
		if Entry(b).Valid() {
			continue
		}
		for ev := range numEvents {
			mem[headerSize+1] = byte(b)
			_, err := table.Step(1, ev)
			var illegal *IllegalError
			if !errors.As(err, &illegal) || mem[headerSize+1] != byte(b) {
				t.Fatalf("%v on byte %#x: %v (byte now %#x), want an IllegalError and no change", ev, b, err, mem[headerSize+1])
			}
		}
	}
}

// TestTableCost is the budget: at most 0.2 % of the guest as metadata.
func TestTableCost(t *testing.T) {
	const guest = 1 << 40
	if size := FileSize(guest / LineSize); float64(size) > guest*0.002 {
		t.Errorf("table of 1 TiB takes %d bytes", size)
	}
}

func FuzzOpenTable(f *testing.F) {
	_, mem := newTable(f, 3)
	f.Add(mem, uint8(0))
	f.Fuzz(func(t *testing.T, mem []byte, ev uint8) {
		table, err := OpenTable(mem)
		if err != nil {
			return
		}
		for l := range min(table.Lines(), 64) {
			_, err := table.Step(l, Event(ev))
			if err == nil && !table.At(l).Valid() {
				t.Errorf("line %d stepped into invalid %#x", l, uint8(table.At(l)))
			}
		}
	})
}
