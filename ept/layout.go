package ept

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"splitvm/ept/excache"
	"splitvm/remote"
)

// GPA is a guest-physical address.
type GPA uint64

// HVA is an address in the process that maps the guest's memory (the VMM), not
// in the pager's.
type HVA uint64

// Slot is a stretch of guest memory: [GPA, GPA+Size) is at HVA in the VMM and at
// Offset in the memfd. All are multiples of the line size.
type Slot struct {
	GPA    GPA    `json:"gpa"`
	HVA    HVA    `json:"hva"`
	Size   uint64 `json:"size"`
	Offset int64  `json:"offset"`
}

// Layout is where guest memory is, and how it is cut into vRegions: vRegion i
// is the guest-physical addresses [i, i+1) * RegionLines * LineSize, and belongs
// to shard i mod Shards.
type Layout struct {
	Slots       []Slot `json:"slots"`
	RegionLines uint32 `json:"region_lines"`
	Shards      int    `json:"shards"`
}

// MaxShards bounds Layout.Shards.
const MaxShards = 256

// MaxSlots bounds Layout.Slots.
const MaxSlots = 64

const maxAddress = excache.MaxLines * excache.LineSize

var errLayout = errors.New("bad memory layout")

// Validate checks a layout that another process sent, and sorts its slots.
func (m *Layout) Validate() error {
	if m.RegionLines == 0 || m.RegionLines > remote.MaxVRegionLines || m.RegionLines&(m.RegionLines-1) != 0 {
		return fmt.Errorf("%w: vRegions of %d lines: must be a power of two, at most %d", errLayout, m.RegionLines, remote.MaxVRegionLines)
	}
	if m.Shards < 1 || m.Shards > MaxShards {
		return fmt.Errorf("%w: %d shards: must be 1 to %d", errLayout, m.Shards, MaxShards)
	}
	if len(m.Slots) == 0 || len(m.Slots) > MaxSlots {
		return fmt.Errorf("%w: %d slots: must be 1 to %d", errLayout, len(m.Slots), MaxSlots)
	}
	slices.SortFunc(m.Slots, func(a, b Slot) int { return cmp.Compare(a.GPA, b.GPA) })
	for i, s := range m.Slots {
		if err := s.validate(); err != nil {
			return err
		}
		if i > 0 && uint64(m.Slots[i-1].GPA)+m.Slots[i-1].Size > uint64(s.GPA) {
			return fmt.Errorf("%w: slots at %#x and %#x overlap", errLayout, m.Slots[i-1].GPA, s.GPA)
		}
	}
	return nil
}

func (s *Slot) validate() error {
	const mask = excache.LineSize - 1
	switch {
	case s.Size == 0 || (uint64(s.GPA)|uint64(s.HVA)|s.Size|uint64(s.Offset))&mask != 0:
		return fmt.Errorf("%w: slot at %#x is not whole lines", errLayout, s.GPA)
	case s.Size > maxAddress || uint64(s.GPA) > maxAddress-s.Size:
		return fmt.Errorf("%w: slot at %#x ends above %#x", errLayout, s.GPA, uint64(maxAddress))
	case uint64(s.HVA)+s.Size < uint64(s.HVA):
		return fmt.Errorf("%w: slot at %#x wraps around in the VMM", errLayout, s.GPA)
	case s.Offset < 0 || s.Offset+int64(s.Size) < s.Offset:
		return fmt.Errorf("%w: slot at %#x is outside of any file", errLayout, s.GPA)
	}
	return nil
}

// Lines returns the number of lines that a table for the layout must have.
func (m *Layout) Lines() uint64 {
	last := m.Slots[len(m.Slots)-1]
	return (uint64(last.GPA) + last.Size) >> excache.LineShift
}

// lineAt returns the line at an address of the VMM; false if it is none of ours.
func (m *Layout) lineAt(a HVA) (excache.Line, bool) {
	for i := range m.Slots {
		s := &m.Slots[i]
		if off := uint64(a - s.HVA); a >= s.HVA && off < s.Size {
			return excache.Line((uint64(s.GPA) + off) >> excache.LineShift), true
		}
	}
	return 0, false
}

// slotOf returns the slot of a line, nil if it isn't memory.
func (m *Layout) slotOf(l excache.Line) *Slot {
	gpa := GPA(l << excache.LineShift)
	for i := range m.Slots {
		s := &m.Slots[i]
		if gpa >= s.GPA && uint64(gpa-s.GPA) < s.Size {
			return s
		}
	}
	return nil
}

// hva returns where a line of memory is in the VMM.
func (s *Slot) hva(l excache.Line) uint64 {
	return uint64(s.HVA) + uint64(l<<excache.LineShift) - uint64(s.GPA)
}

// offset returns where a line of memory is in the memfd.
func (s *Slot) offset(l excache.Line) int64 {
	return s.Offset + int64(uint64(l<<excache.LineShift)-uint64(s.GPA))
}

// region returns the index of the vRegion of a line, and the line's index in it.
func (m *Layout) region(l excache.Line) (int, remote.Line) {
	n := excache.Line(m.RegionLines)
	return int(l / n), remote.Line(l % n)
}

// shardOf returns the shard of a line.
func (m *Layout) shardOf(l excache.Line) int {
	return int(l/excache.Line(m.RegionLines)) % m.Shards
}

// run is count lines from first, all of one slot and one vRegion.
type run struct {
	first excache.Line
	count int
}

// bound returns how many lines, at most n, follow first within its slot and
// vRegion; 0 if first isn't memory.
func (m *Layout) bound(first excache.Line, n int) int {
	s := m.slotOf(first)
	if s == nil {
		return 0
	}
	slotEnd := excache.Line((uint64(s.GPA) + s.Size) >> excache.LineShift)
	regionEnd := (first/excache.Line(m.RegionLines) + 1) * excache.Line(m.RegionLines)
	return int(min(excache.Line(n), slotEnd-first, regionEnd-first))
}

// runs cuts sorted lines into runs, calling f for each.
func (m *Layout) runs(lines []excache.Line, f func(run)) {
	for i := 0; i < len(lines); {
		limit := m.bound(lines[i], len(lines)-i)
		n := 1
		for n < limit && lines[i+n] == lines[i]+excache.Line(n) {
			n++
		}
		f(run{lines[i], n})
		i += n
	}
}

// EachShardRange calls f for each stretch of addresses of the VMM, as long as
// can be, that belongs to one shard.
func (m *Layout) EachShardRange(f func(shard int, addr, size uint64) error) error {
	for i := range m.Slots {
		s := &m.Slots[i]
		end := excache.Line((uint64(s.GPA) + s.Size) >> excache.LineShift)
		for l := excache.Line(s.GPA >> excache.LineShift); l < end; {
			next, shard := l, m.shardOf(l)
			for next < end && m.shardOf(next) == shard {
				next = min(end, (next/excache.Line(m.RegionLines)+1)*excache.Line(m.RegionLines))
			}
			if err := f(shard, s.hva(l), uint64(next-l)<<excache.LineShift); err != nil {
				return err
			}
			l = next
		}
	}
	return nil
}
