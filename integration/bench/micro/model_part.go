//go:build amd64

package micro

import (
	"fmt"

	"golang.org/x/sys/unix"

	"splitvm/ept/uffd"
	"splitvm/guest/bare"
)

// model is the smallest pager that loses nothing: one thread that keeps the lines
// that don't fit in its own memory, makes room in line with the fault that
// needs it (first in, first out; only dirty lines are copied), and knows no network.
type model struct {
	*handler
	store []byte      // contents of the lines that left
	state []lineState // by line
	queue []uint64    // lines that are resident, oldest first
}

type lineState uint8

const (
	lineAway lineState = iota
	lineClean
	lineDirty
)

func newModel(h *handler) *model {
	size := uint64(0)
	for _, s := range h.setup.Stretches {
		size += s.Size
	}
	return &model{handler: h, store: make([]byte, size), state: make([]lineState, size/bare.LineSize)}
}

// resolve serves one fault.
func (m *model) resolve(e uffd.Event) error {
	i, err := m.index(e.Addr)
	if err != nil {
		return err
	}
	switch {
	case m.state[i] == lineAway && e.WP: // it left meanwhile: the access faults again
		return m.faults.Wake(e.Addr, bare.LineSize)
	case e.WP:
		m.state[i] = lineDirty
		return m.faults.Unprotect(e.Addr, bare.LineSize, 0)
	case m.state[i] != lineAway && e.Minor:
		return m.remap(e, i)
	case m.state[i] != lineAway: // another vCPU's fault brought it
		return m.faults.Wake(e.Addr, bare.LineSize)
	}
	for uint64(len(m.queue)) >= m.setup.Lines {
		if err := m.evictOldest(); err != nil {
			return err
		}
	}
	mode, state := uffd.ModeWP, lineClean
	if e.Write {
		mode, state = 0, lineDirty
	}
	if _, err := m.faults.Copy(e.Addr, m.line(i), mode); err != nil {
		return fmt.Errorf("map line %#x: %w", e.Addr, err)
	}
	m.misses.Add(1)
	m.state[i] = state
	m.queue = append(m.queue, i)
	return nil
}

// remap maps a resident line that lost its mapping.
func (m *model) remap(e uffd.Event, i uint64) error {
	mode := uffd.ModeWP
	if e.Write || m.state[i] == lineDirty {
		mode, m.state[i] = 0, lineDirty
	}
	if _, err := m.faults.Continue(e.Addr, bare.LineSize, mode); err != unix.EEXIST {
		return err
	}
	return m.faults.Wake(e.Addr, bare.LineSize)
}

// evictOldest writes the oldest line back if it is dirty, and drops it.
func (m *model) evictOldest() error {
	i := m.queue[0]
	m.queue = m.queue[1:]
	addr, off := m.place(i)
	if m.state[i] == lineDirty {
		if err := m.faults.Protect(addr, bare.LineSize); err != nil {
			return fmt.Errorf("write-protect line %#x: %w", addr, err)
		}
		if n, err := unix.Pread(m.memfd, m.line(i), off); err != nil || n != bare.LineSize {
			return fmt.Errorf("read line %#x: %d bytes, %w", addr, n, err)
		}
	}
	m.state[i] = lineAway
	return m.punch(addr, bare.LineSize)
}

func (m *model) line(i uint64) []byte { return m.store[i*bare.LineSize:][:bare.LineSize] }

// index numbers the lines of all stretches.
func (m *model) index(addr uint64) (uint64, error) {
	before := uint64(0)
	for _, s := range m.setup.Stretches {
		if off := addr - s.Addr; off < s.Size {
			return (before + off) / bare.LineSize, nil
		}
		before += s.Size
	}
	return 0, fmt.Errorf("line %#x is in no stretch", addr)
}

// place returns the address of a line, and where it is in the memfd.
func (m *model) place(i uint64) (addr uint64, off int64) {
	at := i * bare.LineSize
	for _, s := range m.setup.Stretches {
		if at < s.Size {
			return s.Addr + at, s.Offset + int64(at)
		}
		at -= s.Size
	}
	panic("micro: line in no stretch")
}
