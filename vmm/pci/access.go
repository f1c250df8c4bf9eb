package pci

import (
	"encoding/binary"

	"splitvm/guest/layout"
	"splitvm/vmm/bus"
)

// Ports of configuration mechanism #1.
const (
	PortsStart = 0xcf8 // CONFIG_ADDRESS, then CONFIG_DATA at 0xcfc
	PortsSize  = 8
)

// Ports answers the PortsSize ports at PortsStart.
func (h *Host) Ports() bus.Device { return ports{h} }

// ECAM answers layout.ECAMSize bytes of memory-mapped configuration space.
func (h *Host) ECAM() bus.Device { return ecam{h} }

var (
	_ bus.Device = ports{}
	_ bus.Device = ecam{}
)

type ports struct{ h *Host }

const (
	resetOffset = layout.PortReset - PortsStart // a byte register among the ports
	dataOffset  = 4                             // CONFIG_DATA

	addressEnable = 1 << 31
	addressMask   = addressEnable | 0xfffffc
)

// Read is an IN. CONFIG_ADDRESS answers to double words only (PCI Local Bus
// 3.0, 3.2.2.3.2), CONFIG_DATA to any width.
func (p ports) Read(off uint64, data []byte) {
	switch {
	case off == 0 && len(data) == 4:
		p.h.mu.Lock()
		defer p.h.mu.Unlock()
		binary.LittleEndian.PutUint32(data, p.h.address)
	case off == resetOffset && len(data) == 1 && p.h.reset != nil:
		p.h.reset.Read(0, data)
	case off >= dataOffset && off+uint64(len(data)) <= PortsSize:
		p.h.mu.Lock()
		defer p.h.mu.Unlock()
		if device, function, reg, ok := p.h.selected(); ok {
			p.h.readConfig(device, function, reg+int(off-dataOffset), data)
			return
		}
		ones(data)
	default:
		ones(data)
	}
}

// Write is an OUT.
func (p ports) Write(off uint64, data []byte) {
	switch {
	case off == 0 && len(data) == 4:
		p.h.mu.Lock()
		defer p.h.mu.Unlock()
		p.h.address = binary.LittleEndian.Uint32(data) & addressMask
	case off == resetOffset && len(data) == 1 && p.h.reset != nil:
		p.h.reset.Write(0, data)
	case off >= dataOffset && off+uint64(len(data)) <= PortsSize:
		p.h.mu.Lock()
		defer p.h.mu.Unlock()
		if device, function, reg, ok := p.h.selected(); ok {
			p.h.writeConfig(device, function, reg+int(off-dataOffset), data)
		}
	}
}

// selected decodes CONFIG_ADDRESS; false if it selects nothing on bus 0.
func (h *Host) selected() (device, function, reg int, ok bool) {
	a := h.address
	return int(a >> 11 & 31), int(a >> 8 & 7), int(a & 0xfc), a&addressEnable != 0 && a>>16&0xff == 0
}

type ecam struct{ h *Host }

// decode splits an offset within bus 0 (PCI Express 4.0, table 7-1).
func (ecam) decode(off uint64) (device, function, reg int) {
	return int(off >> 15 & 31), int(off >> 12 & 7), int(off & 0xfff)
}

func (e ecam) Read(off uint64, data []byte) {
	device, function, reg := e.decode(off)
	e.h.mu.Lock()
	defer e.h.mu.Unlock()
	e.h.readConfig(device, function, reg, data)
}

func (e ecam) Write(off uint64, data []byte) {
	device, function, reg := e.decode(off)
	e.h.mu.Lock()
	defer e.h.mu.Unlock()
	e.h.writeConfig(device, function, reg, data)
}
