package virtq

import (
	"fmt"

	"splitvm/guest/layout"
	"splitvm/vmm/memory"
)

// Descriptor flags (virtio 1.2, 2.7.5 and 2.8.4).
const (
	flagNext     = 1 << 0 // the chain goes on
	flagWrite    = 1 << 1 // for the device to write
	flagIndirect = 1 << 2 // the buffer is a table of descriptors
)

const descSize = 16

// maxIndirect is the most descriptors that an indirect table may have. The
// specification allows no more than the queue size (2.7.5.3.1); drivers with
// small queues go beyond, and other devices let them up to IOV_MAX.
const maxIndirect = 1024

// indirectTable maps the table that an indirect descriptor points to and
// returns its number of entries.
func indirectTable(m *memory.Memory, gpa uint64, n uint32) (memory.Window, int, error) {
	entries := int(n / descSize)
	if entries == 0 || n%descSize != 0 || entries > maxIndirect {
		return memory.Window{}, 0, fmt.Errorf("%w: an indirect table of %d bytes", ErrBroken, n)
	}
	w, err := m.Window(layout.GPA(gpa), uint64(n))
	if err != nil {
		return memory.Window{}, 0, fmt.Errorf("%w: indirect table: %w", ErrBroken, err)
	}
	return w, entries, nil
}

// area maps one of a queue's three areas and checks its alignment.
func area(m *memory.Memory, what string, gpa layout.GPA, n, align uint64) (memory.Window, error) {
	if uint64(gpa)%align != 0 {
		return memory.Window{}, fmt.Errorf("%w: %s at %#x is not %d-byte aligned", ErrBroken, what, gpa, align)
	}
	w, err := m.Window(gpa, n)
	if err != nil {
		return memory.Window{}, fmt.Errorf("%w: %s: %w", ErrBroken, what, err)
	}
	return w, nil
}
