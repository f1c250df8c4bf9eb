// Package memory is the one accessor to a guest's RAM.
//
// RAM is made of memfds that a pager in another process has too, mapped
// MAP_SHARED; or, where nobody else is to have it, of anonymous memory, which
// the kernel backs with huge pages where it can (of a memfd it does so only if
// the administrator allowed it). Nothing here takes for granted that a page is
// present: a touch of an absent page of a memfd blocks until the pager has
// brought it. Two rules follow.
//
//   - Bulk data moves by system calls only (ReadAt and WriteAt, or readv,
//     preadv and the like on what Slices returns): the Go scheduler knows of a
//     thread blocked in a system call, and not of one blocked in a page fault.
//   - The small atomics (Load and Store, Window) are for words that a device
//     must read and write in order, such as virtqueue rings. They may block
//     their thread for one miss.
//
// Every access is checked against the map; nothing a guest hands over can
// reach host memory outside its RAM. A Memory is immutable after New and safe
// for concurrent use; Close must come after the last access.
package memory

import (
	"errors"
	"fmt"
	"os"
	"sort"

	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
)

// ErrOutside says that an access touches addresses which are not guest RAM.
var ErrOutside = errors.New("outside guest RAM")

// Backing is one stretch of RAM: Size bytes of File from Offset on, seen by
// the guest at GPA. All three are multiples of the page size. Without a File
// it is anonymous memory.
type Backing struct {
	GPA    layout.GPA
	Size   uint64
	File   *os.File
	Offset int64
}

// Region is a mapped Backing.
type Region struct {
	Backing
	host   []byte // Size bytes
	mapped []byte // the mapping that host lies in
}

// Memory is a guest's RAM: regions sorted by address, without overlap.
type Memory struct {
	regions []Region
	owned   []*os.File // closed by Close; those that NewLocal made
}

// New maps the backings. The files stay the caller's.
func New(backings []Backing) (*Memory, error) {
	m := &Memory{}
	for _, b := range backings {
		if err := m.add(b); err != nil {
			m.Close()
			return nil, err
		}
	}
	sort.Slice(m.regions, func(i, j int) bool { return m.regions[i].GPA < m.regions[j].GPA })
	for i := 1; i < len(m.regions); i++ {
		if m.regions[i-1].end() > uint64(m.regions[i].GPA) {
			err := fmt.Errorf("map RAM: regions at %v and %v overlap", m.regions[i-1].GPA, m.regions[i].GPA)
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// NewLocal makes RAM of the given ranges from one memfd of its own, allocated
// by the kernel as it is touched.
func NewLocal(ranges []layout.Range) (*Memory, error) {
	fd, err := unix.MemfdCreate("splitvm-ram", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make guest RAM: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "splitvm-ram")
	var size uint64
	var backings []Backing
	for _, r := range ranges {
		backings = append(backings, Backing{GPA: r.Start, Size: r.Size, File: f, Offset: int64(size)})
		size += r.Size
	}
	if err := f.Truncate(int64(size)); err != nil {
		f.Close()
		return nil, fmt.Errorf("make guest RAM of %d MiB: %w", size>>20, err)
	}
	m, err := New(backings)
	if err != nil {
		f.Close()
		return nil, err
	}
	m.owned = append(m.owned, f)
	return m, nil
}

// NewPrivate makes RAM of the given ranges that no other process can have, in
// huge pages where the kernel has some.
func NewPrivate(ranges []layout.Range) (*Memory, error) {
	var backings []Backing
	for _, r := range ranges {
		backings = append(backings, Backing{GPA: r.Start, Size: r.Size})
	}
	return New(backings)
}

func (m *Memory) add(b Backing) error {
	const mask = layout.PageSize - 1
	if b.Size == 0 || (uint64(b.GPA)|b.Size|uint64(b.Offset))&mask != 0 || uint64(b.GPA)+b.Size < b.Size {
		return fmt.Errorf("map RAM at %#x: %#x bytes at offset %#x are not whole pages", b.GPA, b.Size, b.Offset)
	}
	r, err := mapRegion(b)
	if err != nil {
		return fmt.Errorf("map RAM at %#x, %d MiB: %w (see vm.max_map_count, vm.overcommit_memory, RLIMIT_AS and free memory)", b.GPA, b.Size>>20, err)
	}
	m.regions = append(m.regions, r)
	return nil
}

func mapRegion(b Backing) (Region, error) {
	const rw = unix.PROT_READ | unix.PROT_WRITE
	if b.File != nil {
		p, err := unix.Mmap(int(b.File.Fd()), b.Offset, int(b.Size), rw, unix.MAP_SHARED|unix.MAP_NORESERVE)
		return Region{Backing: b, host: p, mapped: p}, err
	}
	p, err := unix.Mmap(-1, 0, int(b.Size)+layout.Page2M, rw, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return Region{}, err
	}
	// A huge page of the host is one of the guest's only where both addresses
	// are as far into it.
	r := Region{Backing: b, host: p, mapped: p}
	skip := (uint64(b.GPA) - uint64(r.HostAddr())) % layout.Page2M
	r.host = p[skip : skip+b.Size : skip+b.Size]
	if err := unix.Madvise(p, unix.MADV_HUGEPAGE); err != nil && err != unix.EINVAL { // EINVAL: a kernel without them
		return r, errors.Join(err, unix.Munmap(p))
	}
	return r, nil
}

// Close unmaps everything. No access may be under way.
func (m *Memory) Close() error {
	var errs []error
	for _, r := range m.regions {
		errs = append(errs, unix.Munmap(r.mapped))
	}
	for _, f := range m.owned {
		errs = append(errs, f.Close())
	}
	m.regions, m.owned = nil, nil
	return errors.Join(errs...)
}

// Regions lists the RAM by ascending address, for memory slots.
func (m *Memory) Regions() []Region { return m.regions }

// Size is the RAM's total in bytes.
func (m *Memory) Size() uint64 {
	var n uint64
	for _, r := range m.regions {
		n += r.Size
	}
	return n
}

// Contains tells whether all n bytes from gpa on are RAM.
func (m *Memory) Contains(gpa layout.GPA, n uint64) bool {
	_, err := m.Slices(gpa, n)
	return err == nil
}

// Slices returns host views of the n bytes from gpa on: one, or more where the
// range crosses from one region into the next. They are for system calls
// only; a Go statement must not read or write through them in bulk.
// ErrOutside if any byte is not RAM.
func (m *Memory) Slices(gpa layout.GPA, n uint64) ([][]byte, error) {
	return m.AppendSlices(nil, gpa, n)
}

// AppendSlices is Slices, appending to dst so that a caller can reuse it.
func (m *Memory) AppendSlices(dst [][]byte, gpa layout.GPA, n uint64) ([][]byte, error) {
	start := uint64(gpa)
	if start+n < start {
		return dst, fmt.Errorf("guest address %#x + %#x: %w", gpa, n, ErrOutside)
	}
	for first := true; n > 0 || first; first = false {
		r := m.find(start)
		if r == nil {
			return dst, fmt.Errorf("guest address %#x: %w", start, ErrOutside)
		}
		off := start - uint64(r.GPA)
		k := min(n, r.Size-off)
		dst = append(dst, r.host[off:off+k:off+k])
		start, n = start+k, n-k
	}
	return dst, nil
}

// find returns the region that holds the byte at addr, or nil.
func (m *Memory) find(addr uint64) *Region {
	for i := range m.regions { // two or three regions: a search would cost more
		r := &m.regions[i]
		if addr-uint64(r.GPA) < r.Size {
			return r
		}
	}
	return nil
}

func (r *Region) end() uint64 { return uint64(r.GPA) + r.Size }
