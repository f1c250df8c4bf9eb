package pci

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"splitvm/vmm/bus"
)

const (
	capMSIX = 0x11 // PCI Local Bus 3.0, 6.8.2

	msixEnable    = 1 << 15 // message control
	msixMaskAll   = 1 << 14
	msixEntry     = 16 // bytes of a table entry: address, upper address, data, control
	vectorMasked  = 1  // vector control
	maxVectors    = 2048
	vectorControl = 12
)

// MSIX is a function's MSI-X table and pending bits, in a BAR of their own
// (PCI Local Bus 3.0, 6.8.2 and 6.8.3).
type MSIX struct {
	pba uint64 // offset of the pending bits in the BAR; immutable

	// What holds for the whole function. Written under Host.mu; whoever
	// changes it then looks at every vector, so that what became deliverable
	// is sent.
	enabled atomic.Bool // MSI-X enable
	masked  atomic.Bool // function mask
	master  atomic.Bool // bus master enable

	vectors []vector // the slice is immutable
}

type vector struct {
	mu      sync.Mutex // guards the rest
	entry   [msixEntry]byte
	pending bool
	stale   bool    // the message's route is not what entry says
	message Message // nil after Close
}

// AddMSIX gives f the capability with n vectors and a BAR for the table. The
// caller closes the MSIX when no device signals it any more.
func (f *Function) AddMSIX(index, n int, from Messages) (*MSIX, error) {
	if n < 1 || n > maxVectors {
		return nil, fmt.Errorf("add MSI-X with %d vectors: 1 to %d are possible", n, maxVectors)
	}
	m := &MSIX{vectors: make([]vector, n)}
	size := uint64(minBAR)
	for size < uint64(n)*msixEntry*2 {
		size *= 2
	}
	m.pba = size / 2
	for i := range m.vectors {
		v := &m.vectors[i]
		v.entry[vectorControl], v.stale = vectorMasked, true
		var err error
		if v.message, err = from.NewMessage(); err != nil {
			m.Close()
			return nil, fmt.Errorf("add MSI-X vector %d of %d: %w", i, n, err)
		}
	}
	if err := m.attach(f, index, size); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *MSIX) attach(f *Function, index int, size uint64) error {
	if err := f.AddBAR(BAR{Index: index, Size: size, Device: m}); err != nil {
		return err
	}
	body, mask := make([]byte, 10), make([]byte, 10)
	binary.LittleEndian.PutUint16(body[0:], uint16(len(m.vectors)-1))
	binary.LittleEndian.PutUint32(body[2:], uint32(index))
	binary.LittleEndian.PutUint32(body[6:], uint32(m.pba)|uint32(index))
	binary.LittleEndian.PutUint16(mask[0:], msixEnable|msixMaskAll)
	f.OnBusMaster(func(on bool) {
		m.master.Store(on)
		m.review()
	})
	return f.AddCapability(Capability{ID: capMSIX, Body: body, Mask: mask, AfterWrite: func(body []byte, _, _ int) {
		control := binary.LittleEndian.Uint16(body)
		m.enabled.Store(control&msixEnable != 0)
		m.masked.Store(control&msixMaskAll != 0)
		m.review()
	}})
}

// Close gives the messages back.
func (m *MSIX) Close() {
	for i := range m.vectors {
		v := &m.vectors[i]
		v.mu.Lock()
		if v.message != nil {
			v.message.Close()
			v.message = nil
		}
		v.mu.Unlock()
	}
}

// Vectors is the size of the table.
func (m *MSIX) Vectors() int { return len(m.vectors) }

// Signal interrupts the guest by vector i. A vector that is masked becomes
// pending; one that does not exist, and any while MSI-X is off, is dropped.
func (m *MSIX) Signal(i uint16) {
	if int(i) >= len(m.vectors) {
		return
	}
	v := &m.vectors[i]
	v.mu.Lock()
	defer v.mu.Unlock()
	if m.enabled.Load() {
		v.pending = true
		m.deliver(v)
	}
}

// review sends what a change for the whole function lets out.
func (m *MSIX) review() {
	for i := range m.vectors {
		v := &m.vectors[i]
		v.mu.Lock()
		if !m.enabled.Load() {
			v.pending = false
		}
		m.deliver(v)
		v.mu.Unlock()
	}
}

// deliver sends a pending message if nothing masks it, over a route brought up
// to date. A route that the host cannot set leaves it pending. Caller holds v.mu.
func (m *MSIX) deliver(v *vector) {
	if !m.enabled.Load() || m.masked.Load() || !m.master.Load() || v.entry[vectorControl]&vectorMasked != 0 || v.message == nil {
		return
	}
	if v.stale {
		addr, data := binary.LittleEndian.Uint64(v.entry[0:]), binary.LittleEndian.Uint32(v.entry[8:])
		if v.message.Route(addr, data) != nil {
			return
		}
		v.stale = false
	}
	if v.pending {
		v.pending = false
		v.message.Signal()
	}
}

var _ bus.Device = (*MSIX)(nil)

// Read is a guest's look at the table or the pending bits. Accesses are of
// aligned double or quad words (6.8.2); others read as zeroes.
func (m *MSIX) Read(off uint64, p []byte) {
	clear(p)
	if v := m.entryAt(off, p); v != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		copy(p, v.entry[off%msixEntry:])
	} else if off >= m.pba && aligned(off, p) {
		for i := range p {
			p[i] = m.pendingByte(off - m.pba + uint64(i))
		}
	}
}

// Write is a guest's write to the table; the pending bits can't be written.
func (m *MSIX) Write(off uint64, p []byte) {
	v := m.entryAt(off, p)
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.entry
	copy(v.entry[off%msixEntry:], p)
	clear(v.entry[vectorControl+1:])
	v.entry[vectorControl] &= vectorMasked
	v.stale = v.stale || [vectorControl]byte(before[:]) != [vectorControl]byte(v.entry[:])
	m.deliver(v)
}

// entryAt is the vector whose entry an access of p at off is within, or nil.
func (m *MSIX) entryAt(off uint64, p []byte) *vector {
	if i := off / msixEntry; i < uint64(len(m.vectors)) && aligned(off, p) {
		return &m.vectors[i]
	}
	return nil
}

// pendingByte is byte i of the pending bit array; zero past its end.
func (m *MSIX) pendingByte(i uint64) uint8 {
	var bits uint8
	for n := i * 8; n < min(i*8+8, uint64(len(m.vectors))); n++ {
		v := &m.vectors[n]
		v.mu.Lock()
		if v.pending {
			bits |= 1 << (n % 8)
		}
		v.mu.Unlock()
	}
	return bits
}

func aligned(off uint64, p []byte) bool {
	return (len(p) == 4 || len(p) == 8) && off%uint64(len(p)) == 0
}
