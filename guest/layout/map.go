package layout

import (
	"errors"
	"fmt"
	"math/bits"
)

// ErrSize says that no machine can have that much, or that little, memory.
var ErrSize = errors.New("bad memory size")

// Range is Size bytes from Start on.
type Range struct {
	Start GPA
	Size  uint64
}

// End is the first address after the range.
func (r Range) End() GPA { return r.Start + GPA(r.Size) }

// Contains tells whether all n bytes from a on are in the range.
func (r Range) Contains(a GPA, n uint64) bool {
	return a >= r.Start && uint64(a-r.Start) <= r.Size && n <= r.Size-uint64(a-r.Start)
}

// Map is the address map of a machine with a given amount of RAM. The zero Map
// has none.
type Map struct {
	size uint64
}

// New is the map of a machine with size bytes of RAM: a multiple of the page
// size between MinRAM and MaxRAM. Otherwise the error wraps ErrSize.
func New(size uint64) (Map, error) {
	switch {
	case size < MinRAM:
		return Map{}, fmt.Errorf("%w: %d bytes; give at least %d MiB", ErrSize, size, MinRAM>>20)
	case size > MaxRAM:
		return Map{}, fmt.Errorf("%w: %d MiB; give at most %d GiB", ErrSize, size>>20, MaxRAM>>30)
	case size%PageSize != 0:
		return Map{}, fmt.Errorf("%w: %d bytes; give a multiple of %d bytes", ErrSize, size, PageSize)
	}
	return Map{size: size}, nil
}

// Size is the RAM's total in bytes.
func (m Map) Size() uint64 { return m.size }

// RAM lists what is backed by memory, by ascending address: [0, 3 GiB) and
// [4 GiB, ...), as far as the size goes. The legacy hole below 1 MiB is backed
// as well, for the tables in it.
func (m Map) RAM() []Range {
	if m.size == 0 {
		return nil
	}
	low := min(m.size, uint64(LowRAMEnd))
	ram := []Range{{Start: 0, Size: low}}
	if rest := m.size - low; rest > 0 {
		ram = append(ram, Range{Start: HighRAMStart, Size: rest})
	}
	return ram
}

// Contains tells whether all n bytes from a on are RAM.
func (m Map) Contains(a GPA, n uint64) bool {
	for _, r := range m.RAM() {
		if r.Contains(a, n) {
			return true
		}
	}
	return false
}

// LowEnd is where RAM below 4 GiB ends.
func (m Map) LowEnd() GPA { return GPA(min(m.size, uint64(LowRAMEnd))) }

// End is the first address after all RAM and, if larger, after all device
// windows: always at least 4 GiB.
func (m Map) End() GPA {
	end := HighRAMStart
	for _, r := range m.RAM() {
		end = max(end, r.End())
	}
	return end
}

// PhysBits is the number of guest-physical address bits that the machine
// needs: 32 to 41. A host whose processors have fewer can't run it.
func (m Map) PhysBits() int { return bits.Len64(uint64(m.End()) - 1) }
