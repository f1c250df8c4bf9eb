package excache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The table's file: a header of one page, then one byte per line. All numbers
// are little-endian. A file of zeroes after the header is a guest that never wrote, so
// a sparse file costs only what was touched: at most 1/4096 of the guest.
const (
	headerSize    = LineSize
	tableVersion  = 1
	offMagic      = 0  // 8 bytes
	offVersion    = 8  // u32
	offLineShift  = 12 // u32
	offLines      = 16 // u64
	offGeneration = 24 // u64
	headerUsed    = 32 // the rest is zero in version 1
)

var tableMagic = [8]byte{'S', 'V', 'M', 'L', 'I', 'N', 'E', 'S'}

// MaxLines is the size of the largest table: 16 TiB of guest.
const MaxLines = 1 << 32

// ErrTable is wrapped by errors about a table that can't be used.
var ErrTable = errors.New("not a line table that this version can use")

// Table is the entries of a guest's lines in memory that outlives the process.
// It has no lock: calls for one line must be serialized by the caller; calls
// for different lines need not be.
type Table struct {
	header  []byte // immutable but for the generation
	entries []byte
}

// FileSize returns the size of the file for a table of lines.
func FileSize(lines uint64) int64 { return headerSize + int64(lines) }

// FileOffset returns where a line's entry is in the file.
func FileOffset(l Line) int64 { return headerSize + int64(l) }

// Format makes a new table, all Zero, in mem, which is zeroes of FileSize(lines).
func Format(mem []byte, lines uint64) error {
	if lines == 0 || lines > MaxLines {
		return fmt.Errorf("format line table: %d lines, can hold 1 to %d", lines, uint64(MaxLines))
	}
	if int64(len(mem)) != FileSize(lines) {
		return fmt.Errorf("format line table: %d bytes for %d lines, need %d", len(mem), lines, FileSize(lines))
	}
	copy(mem[offMagic:], tableMagic[:])
	binary.LittleEndian.PutUint32(mem[offVersion:], tableVersion)
	binary.LittleEndian.PutUint32(mem[offLineShift:], LineShift)
	binary.LittleEndian.PutUint64(mem[offLines:], lines)
	return nil
}

// OpenTable checks the header of the table in mem. Entries are checked when
// they are used: a table of a large guest is too long to be read at once.
// The error wraps ErrTable.
func OpenTable(mem []byte) (*Table, error) {
	if len(mem) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes, shorter than a header", ErrTable, len(mem))
	}
	if [8]byte(mem[offMagic:]) != tableMagic {
		return nil, fmt.Errorf("%w: wrong magic %q", ErrTable, mem[offMagic:offMagic+8])
	}
	if v := binary.LittleEndian.Uint32(mem[offVersion:]); v != tableVersion {
		return nil, fmt.Errorf("%w: version %d, can use %d", ErrTable, v, tableVersion)
	}
	if s := binary.LittleEndian.Uint32(mem[offLineShift:]); s != LineShift {
		return nil, fmt.Errorf("%w: lines of 2^%d bytes, can use 2^%d", ErrTable, s, LineShift)
	}
	lines := binary.LittleEndian.Uint64(mem[offLines:])
	if lines == 0 || lines > MaxLines || int64(len(mem)) != FileSize(lines) {
		return nil, fmt.Errorf("%w: says %d lines in a file of %d bytes", ErrTable, lines, len(mem))
	}
	for _, b := range mem[headerUsed:headerSize] {
		if b != 0 {
			return nil, fmt.Errorf("%w: reserved header bytes are in use", ErrTable)
		}
	}
	return &Table{header: mem[:headerSize], entries: mem[headerSize:]}, nil
}

// Lines returns the number of lines.
func (t *Table) Lines() Line { return Line(len(t.entries)) }

// Generation returns how many pagers have used the table.
func (t *Table) Generation() uint64 {
	return binary.LittleEndian.Uint64(t.header[offGeneration:])
}

// NextGeneration counts a pager that starts to use the table. Pagers use the
// table one after the other, never at the same time.
func (t *Table) NextGeneration() (uint64, error) {
	g := t.Generation()
	if g == math.MaxUint64 {
		return 0, fmt.Errorf("%w: generation is at its end", ErrTable)
	}
	binary.LittleEndian.PutUint64(t.header[offGeneration:], g+1)
	return g + 1, nil
}

// At returns the entry of a line, which must be below Lines.
func (t *Table) At(l Line) Entry { return Entry(t.entries[l]) }

// Store sets the entry of a line; for recovery only.
func (t *Table) Store(l Line, e Entry) { t.entries[l] = byte(e) }

// Step moves a line by an event: it stores the new entry and returns what to do
// now. The line stays as it is on an error (an *IllegalError).
func (t *Table) Step(l Line, ev Event) (Effects, error) {
	e, do, err := Step(Entry(t.entries[l]), ev)
	if err != nil {
		return 0, fmt.Errorf("line %#x: %w", uint64(l)<<LineShift, err)
	}
	t.entries[l] = byte(e)
	return do, nil
}
