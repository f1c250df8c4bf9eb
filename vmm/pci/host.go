package pci

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"splitvm/guest/layout"
	"splitvm/vmm/bus"
)

// Config is what a Host is made of.
type Config struct {
	MMIO      MMIO
	Doorbells Doorbells      // nil: every write to a bell reaches its BAR's Device
	Windows   []layout.Range // where BARs may decode; Plug gives addresses from the first
	Reset     bus.Device     // the byte at port 0xCF9 (offset 0), which lies inside Ports; nil: none
	Log       *slog.Logger   // nil: slog.Default()
}

const maxDevices = 32

// ErrFull says that no device number or no address is left.
var ErrFull = errors.New("PCI bus is full")

// Host is bus 0 with its host bridge, device 0.
type Host struct {
	mmio    MMIO
	bells   Doorbells
	windows []layout.Range // immutable after NewHost
	reset   bus.Device
	log     *slog.Logger

	mu        sync.Mutex
	functions []*Function // guarded by mu; index is the device number
	next      uint64      // guarded by mu; first address in windows[0] not given yet
	address   uint32      // guarded by mu; CONFIG_ADDRESS, port 0xCF8
}

// NewHost makes a bus that has only the host bridge.
func NewHost(c Config) (*Host, error) {
	if len(c.Windows) == 0 || c.MMIO == nil {
		return nil, errors.New("pci: a host bridge needs an address space and a window in it")
	}
	h := &Host{mmio: c.MMIO, bells: c.Doorbells, windows: c.Windows, reset: c.Reset, log: c.Log}
	if h.log == nil {
		h.log = slog.Default()
	}
	h.next = uint64(c.Windows[0].Start)
	bridge := NewFunction(ID{Vendor: 0x1b36, Device: 0x0008, Class: 0x060000})
	h.functions = append(h.functions, bridge)
	return h, nil
}

// Plug puts f on the bus and gives its BARs addresses, which a guest may leave
// as they are. It returns the device number, or ErrFull.
func (h *Host) Plug(f *Function) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.functions) == maxDevices {
		return 0, fmt.Errorf("plug a device: %w", ErrFull)
	}
	next := h.next
	for _, b := range f.bars {
		at := (next + b.Size - 1) &^ (b.Size - 1)
		if !h.windows[0].Contains(layout.GPA(at), b.Size) || !b.Wide && at+b.Size > 1<<32 {
			return 0, fmt.Errorf("plug a device: no room for BAR %d of %#x bytes: %w", b.Index, b.Size, ErrFull)
		}
		f.setAddress(b, at)
		next = at + b.Size
	}
	h.next = next
	h.functions = append(h.functions, f)
	return len(h.functions) - 1, nil
}

// Close takes every BAR and doorbell away. No vCPU may run.
func (h *Host) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.functions {
		for _, b := range f.bars {
			if b.mapped {
				h.unmap(b)
			}
		}
	}
}

// function is the one at a device and function number, or nil. Caller holds mu.
func (h *Host) function(device, function int) *Function {
	if function != 0 || device >= len(h.functions) {
		return nil
	}
	return h.functions[device]
}

func (h *Host) readConfig(device, function, off int, p []byte) {
	if f := h.function(device, function); f != nil {
		f.read(off, p)
		return
	}
	ones(p)
}

func (h *Host) writeConfig(device, function, off int, p []byte) {
	if f := h.function(device, function); f != nil {
		f.write(off, p)
		if off < regBAR0+4*numBARs {
			h.remap()
		}
	}
}
