package ept

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"splitvm/ept/excache"
	"splitvm/ept/policy"
)

// repair brings the table into a state without transitions, as
// excache.Recover says, tells the policies what is resident, and wakes all
// sleepers: events that a killed pager had read are lost, and come again.
func (p *Pager) repair() error {
	for i := range p.layout.Slots {
		if err := p.repairSlot(&p.layout.Slots[i]); err != nil {
			return fmt.Errorf("carry on with line table: %w", err)
		}
	}
	return p.wakeAll()
}

// repairSlot walks the stretches of the slot that have pages, and those that don't.
func (p *Pager) repairSlot(s *Slot) error {
	first := excache.Line(s.GPA >> excache.LineShift)
	end := first + excache.Line(s.Size>>excache.LineShift)
	for l := first; l < end; {
		data := s.lineAfter(p.cfg.Memory, l, unix.SEEK_DATA, end)
		if err := p.repairHole(l, data); err != nil {
			return err
		}
		hole := s.lineAfter(p.cfg.Memory, data, unix.SEEK_HOLE, end)
		if err := p.repairLines(data, hole, true); err != nil {
			return err
		}
		l = hole
	}
	return nil
}

// lineAfter returns the first line from l on that has a page (SEEK_DATA) or none
// (SEEK_HOLE), at most end.
func (s *Slot) lineAfter(memory int, l excache.Line, whence int, end excache.Line) excache.Line {
	if l >= end {
		return end
	}
	off, err := unix.Seek(memory, s.offset(l), whence)
	if err != nil { // ENXIO: there is none
		return end
	}
	return min(end, l+excache.Line((off-s.offset(l))>>excache.LineShift))
}

// repairHole repairs the lines [l, end), which have no pages. It reads only those
// parts of the table that were ever written: looking at the others would
// allocate them.
func (p *Pager) repairHole(l, end excache.Line) error {
	for l < end {
		off := excache.FileOffset(l)
		data, err := unix.Seek(p.cfg.TableFile, off, unix.SEEK_DATA)
		if err != nil { // ENXIO: the rest is a hole
			return nil
		}
		hole, err := unix.Seek(p.cfg.TableFile, data, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("look for holes in line table: %w", err)
		}
		if l += excache.Line(data - off); l >= end {
			return nil
		}
		next := min(end, l+excache.Line(hole-data))
		if err := p.repairLines(l, next, false); err != nil {
			return err
		}
		l = next
	}
	return nil
}

// repairLines repairs the lines [l, end), whose pages are all there or all not.
func (p *Pager) repairLines(l, end excache.Line, present bool) error {
	for ; l < end; l++ {
		was := p.table.At(l)
		if was == 0 && !present {
			continue
		}
		if !was.Valid() {
			return fmt.Errorf("entry %#02x of line %#x: %w", uint8(was), uint64(l)<<excache.LineShift, excache.ErrTable)
		}
		fix := excache.Recover(was, present)
		if fix.Punch {
			if err := p.punch(run{l, 1}); err != nil {
				return err
			}
		}
		if fix.Entry.State() == excache.Poisoned {
			return fmt.Errorf("line %#x: %w", uint64(l)<<excache.LineShift, errLost)
		}
		p.table.Store(l, fix.Entry)
		if fix.Entry.Resident() {
			p.budget.used.Add(1)
			if fix.Entry.Newest() {
				p.stats.Dirty.Add(1)
			}
			p.shards[p.layout.shardOf(l)].policy.Insert(l, policy.Demand)
		}
	}
	return nil
}

var errLost = errors.New("its content is lost: the line table and the memory file don't fit together")

// wakeAll wakes every sleeper of every shard.
func (p *Pager) wakeAll() error {
	err := p.layout.EachShardRange(func(shard int, addr, size uint64) error {
		return p.shards[shard].faults.Wake(addr, size)
	})
	if err != nil {
		return fmt.Errorf("wake guest: %w", err)
	}
	return nil
}
