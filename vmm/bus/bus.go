// Package bus finds the device that answers for a port or an MMIO address.
//
// A Bus is used from every vCPU thread at once: look-ups take no lock, and
// adding or removing a device replaces the sorted table as a whole. A device
// may therefore still be called once after Remove returned, by a vCPU that had
// looked it up before; devices are safe for concurrent use and stay valid.
package bus

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

// Device answers accesses of 1, 2, 4 or 8 bytes at an offset from its base.
// It is called on vCPU threads, concurrently, and must neither block nor
// trust what a guest sends: any offset within its size, any value.
type Device interface {
	Read(off uint64, p []byte)
	Write(off uint64, p []byte)
}

type entry struct {
	base, size uint64
	dev        Device
}

// Bus is one address space: ports or MMIO. The zero Bus is empty and ready.
type Bus struct {
	mu    sync.Mutex // serialises changes
	table atomic.Pointer[[]entry]
}

// Add gives [base, base+size) to d. It fails when that overlaps another
// device or wraps around.
func (b *Bus) Add(base, size uint64, d Device) error {
	if size == 0 || base+size-1 < base {
		return fmt.Errorf("bus: range %#x+%#x is empty or wraps", base, size)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.entries()
	i := sort.Search(len(old), func(i int) bool { return old[i].base > base })
	if i > 0 && base-old[i-1].base < old[i-1].size || i < len(old) && old[i].base-base < size {
		return fmt.Errorf("bus: range %#x+%#x overlaps another device", base, size)
	}
	table := slices.Insert(slices.Clone(old), i, entry{base, size, d})
	b.table.Store(&table)
	return nil
}

// Remove takes away the device at base.
func (b *Bus) Remove(base uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.entries()
	i := slices.IndexFunc(old, func(e entry) bool { return e.base == base })
	if i < 0 {
		return fmt.Errorf("bus: no device at %#x", base)
	}
	table := slices.Delete(slices.Clone(old), i, i+1)
	b.table.Store(&table)
	return nil
}

// Read lets the device at addr fill p. Where there is none, or the access
// runs past its end, p is all ones, as on a floating bus, and Read is false.
func (b *Bus) Read(addr uint64, p []byte) bool {
	if e := b.find(addr, uint64(len(p))); e != nil {
		clear(p)
		e.dev.Read(addr-e.base, p)
		return true
	}
	for i := range p {
		p[i] = 0xff
	}
	return false
}

// Write hands p to the device at addr; false where there is none.
func (b *Bus) Write(addr uint64, p []byte) bool {
	e := b.find(addr, uint64(len(p)))
	if e == nil {
		return false
	}
	e.dev.Write(addr-e.base, p)
	return true
}

func (b *Bus) entries() []entry {
	if t := b.table.Load(); t != nil {
		return *t
	}
	return nil
}

func (b *Bus) find(addr, n uint64) *entry {
	t := b.entries()
	i := sort.Search(len(t), func(i int) bool { return t[i].base > addr })
	if i == 0 {
		return nil
	}
	e := &t[i-1]
	if off := addr - e.base; off >= e.size || n > e.size-off {
		return nil
	}
	return e
}
