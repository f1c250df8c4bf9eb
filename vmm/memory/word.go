package memory

import "splitvm/guest/layout"

// Load8 reads a byte of guest RAM. ErrOutside if gpa is not RAM.
func (m *Memory) Load8(gpa layout.GPA) (uint8, error) {
	w, err := m.Window(gpa, 1)
	if err != nil {
		return 0, err
	}
	return w.Load8(0), nil
}

// Load16 reads a little-endian word. ErrOutside if not RAM.
func (m *Memory) Load16(gpa layout.GPA) (uint16, error) {
	w, err := m.Window(gpa, 2)
	if err != nil {
		return 0, err
	}
	return w.Load16(0), nil
}

// Load32 reads a little-endian double word. ErrOutside if not RAM.
func (m *Memory) Load32(gpa layout.GPA) (uint32, error) {
	w, err := m.Window(gpa, 4)
	if err != nil {
		return 0, err
	}
	return w.Load32(0), nil
}

// Load64 reads a little-endian quad word. ErrOutside if not RAM.
func (m *Memory) Load64(gpa layout.GPA) (uint64, error) {
	w, err := m.Window(gpa, 8)
	if err != nil {
		return 0, err
	}
	return w.Load64(0), nil
}

// Store8 writes a byte of guest RAM. ErrOutside if gpa is not RAM.
func (m *Memory) Store8(gpa layout.GPA, v uint8) error {
	w, err := m.Window(gpa, 1)
	if err == nil {
		w.Store8(0, v)
	}
	return err
}

// Store16 writes a little-endian word. ErrOutside if not RAM.
func (m *Memory) Store16(gpa layout.GPA, v uint16) error {
	w, err := m.Window(gpa, 2)
	if err == nil {
		w.Store16(0, v)
	}
	return err
}

// Store32 writes a little-endian double word. ErrOutside if not RAM.
func (m *Memory) Store32(gpa layout.GPA, v uint32) error {
	w, err := m.Window(gpa, 4)
	if err == nil {
		w.Store32(0, v)
	}
	return err
}

// Store64 writes a little-endian quad word. ErrOutside if not RAM.
func (m *Memory) Store64(gpa layout.GPA, v uint64) error {
	w, err := m.Window(gpa, 8)
	if err == nil {
		w.Store64(0, v)
	}
	return err
}
