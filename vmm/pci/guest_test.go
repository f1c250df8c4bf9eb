package pci_test

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"splitvm/guest/layout"
	"splitvm/vmm/bus"
	"splitvm/vmm/pci"
)

var window = layout.Range{Start: 0xc000_0000, Size: 0x100_0000}

// machine is a host bridge on real buses, with what a guest does to them.
type machine struct {
	t        testing.TB
	ports    bus.Bus
	mmio     bus.Bus
	host     *pci.Host
	bells    bells
	messages messages
}

func newMachine(t testing.TB, windows ...layout.Range) *machine {
	t.Helper()
	m := &machine{t: t}
	if len(windows) == 0 {
		windows = []layout.Range{window}
	}
	var err error
	if m.host, err = pci.NewHost(pci.Config{MMIO: &m.mmio, Doorbells: &m.bells, Windows: windows}); err != nil {
		t.Fatal(err)
	}
	if err := m.ports.Add(pci.PortsStart, pci.PortsSize, m.host.Ports()); err != nil {
		t.Fatal(err)
	}
	if err := m.mmio.Add(uint64(layout.ECAMStart), layout.ECAMSize, m.host.ECAM()); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) plug(f *pci.Function) int {
	m.t.Helper()
	device, err := m.host.Plug(f)
	if err != nil {
		m.t.Fatal(err)
	}
	return device
}

func ecamAt(device, reg int) uint64 {
	return uint64(layout.ECAMStart) + uint64(device)<<15 + uint64(reg)
}

func (m *machine) config(device, reg, width int) uint64 {
	p := make([]byte, 8)
	m.mmio.Read(ecamAt(device, reg), p[:width])
	return binary.LittleEndian.Uint64(p)
}

func (m *machine) setConfig(device, reg, width int, v uint64) {
	p := binary.LittleEndian.AppendUint64(nil, v)
	m.mmio.Write(ecamAt(device, reg), p[:width])
}

func (m *machine) load(addr uint64, width int) uint64 {
	p := make([]byte, 8)
	m.mmio.Read(addr, p[:width])
	return binary.LittleEndian.Uint64(p)
}

func (m *machine) store(addr uint64, width int, v uint64) bool {
	p := binary.LittleEndian.AppendUint64(nil, v)
	return m.mmio.Write(addr, p[:width])
}

// bells is the kernel's side of doorbells: which are attached where.
type bells struct {
	mu       sync.Mutex
	attached map[bell]bool
	refuse   bool
}

type bell struct {
	gpa      layout.GPA
	size, fd int
}

func (b *bells) Attach(gpa layout.GPA, size, fd int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.attached == nil {
		b.attached = map[bell]bool{}
	}
	if b.refuse || b.attached[bell{gpa, size, fd}] {
		return errors.New("refused")
	}
	b.attached[bell{gpa, size, fd}] = true
	return nil
}

func (b *bells) Detach(gpa layout.GPA, size, fd int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.attached[bell{gpa, size, fd}] {
		return errors.New("not attached")
	}
	delete(b.attached, bell{gpa, size, fd})
	return nil
}

// messages records what reaches the interrupt controller.
type messages struct {
	mu   sync.Mutex
	made int
	open int
	sent []msi
	full bool // Route fails
}

type msi struct {
	addr uint64
	data uint32
}

type message struct {
	from   *messages
	route  msi
	routed bool
	closed bool
}

func (m *messages) NewMessage() (pci.Message, error) {
	m.made++
	m.open++
	return &message{from: m}, nil
}

func (m *message) Route(addr uint64, data uint32) error {
	m.from.mu.Lock()
	defer m.from.mu.Unlock()
	if m.from.full {
		return errors.New("no routes left")
	}
	m.route, m.routed = msi{addr, data}, true
	return nil
}

func (m *message) Signal() {
	m.from.mu.Lock()
	defer m.from.mu.Unlock()
	if !m.routed || m.closed {
		panic("signal of a message without a route, or closed")
	}
	m.from.sent = append(m.from.sent, m.route)
}

func (m *message) Close() error {
	m.closed = true
	m.from.open--
	return nil
}

// take returns what was sent since the last call.
func (m *messages) take() []msi {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sent
	m.sent = nil
	return s
}

// registers is a device of plain memory.
type registers struct {
	mu sync.Mutex
	b  []byte
}

func (r *registers) Read(off uint64, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	copy(p, r.b[off:])
}

func (r *registers) Write(off uint64, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	copy(r.b[off:], p)
}
