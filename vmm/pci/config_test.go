package pci_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"splitvm/vmm/bus"
	"splitvm/vmm/pci"
)

const (
	command = 0x04
	bar0    = 0x10
	memory  = 2
	master  = 4
)

func TestHostBridge(t *testing.T) {
	m := newMachine(t)
	if class := m.config(0, 8, 4) >> 16; class != 0x0600 {
		t.Errorf("class of device 0 is %#x, want a host bridge, 0x600", class)
	}
	if header := m.config(0, 0x0e, 1); header != 0 {
		t.Errorf("header type %#x, want 0", header)
	}
}

func TestNothingThere(t *testing.T) {
	m := newMachine(t)
	for _, reg := range []int{0, 0xfc, 0x100, 0xffc} {
		if v := m.config(5, reg, 4); v != 0xffffffff {
			t.Errorf("register %#x of an empty slot is %#x", reg, v)
		}
	}
	if v := m.config(0, 0x100, 4); v != 0xffffffff {
		t.Errorf("extended configuration space reads %#x, want none", v)
	}
	m.setConfig(5, 0, 4, 1) // and no harm
	if v := m.load(ecamAt(0, 0)+0x1000, 4); v != 0xffffffff {
		t.Errorf("function 1 of device 0 reads %#x", v)
	}
}

// mechanism1 reads a register through the ports.
func (m *machine) mechanism1(address uint32, offset uint64, width int) uint64 {
	m.ports.Write(0xcf8, binary.LittleEndian.AppendUint32(nil, address))
	p := make([]byte, 8)
	m.ports.Read(0xcfc+offset, p[:width])
	return binary.LittleEndian.Uint64(p)
}

func TestPortsAndECAMAgree(t *testing.T) {
	m := newMachine(t)
	device := m.plug(pci.NewFunction(pci.ID{Vendor: 0x1234, Device: 0x5678, Class: 0x010203, Revision: 9}))
	for reg := 0; reg < 256; reg += 4 {
		address := 1<<31 | uint32(device)<<11 | uint32(reg)
		for _, a := range []struct{ offset, width int }{{0, 4}, {0, 2}, {2, 2}, {0, 1}, {1, 1}, {2, 1}, {3, 1}} {
			got, want := m.mechanism1(address, uint64(a.offset), a.width), m.config(device, reg+a.offset, a.width)
			if got != want {
				t.Fatalf("register %#x+%d width %d: ports %#x, ECAM %#x", reg, a.offset, a.width, got, want)
			}
		}
	}
	if v := m.mechanism1(1<<31|uint32(device)<<11, 0, 4); v != 0x56781234 {
		t.Errorf("id is %#x", v)
	}
	for name, address := range map[string]uint32{"disabled": uint32(device) << 11, "bus 1": 1<<31 | 1<<16, "function 3": 1<<31 | uint32(device)<<11 | 3<<8} {
		if v := m.mechanism1(address, 0, 4); v != 0xffffffff {
			t.Errorf("%s: reads %#x, want all ones", name, v)
		}
	}
}

// TestAddressRegister: other widths than 4 are not for CONFIG_ADDRESS, and the
// byte at 0xcf9 is the reset register.
func TestAddressRegister(t *testing.T) {
	var mmio bus.Bus
	reset := &registers{b: make([]byte, 1)}
	host, err := pci.NewHost(pci.Config{MMIO: &mmio, Windows: windows(), Reset: reset})
	if err != nil {
		t.Fatal(err)
	}
	ports := host.Ports()
	ports.Write(0, []byte{0x10, 0x20, 0, 0x80})
	ports.Write(0, []byte{0xff})
	ports.Write(1, []byte{6})
	ports.Write(2, []byte{1, 2})
	p := make([]byte, 4)
	if ports.Read(0, p); binary.LittleEndian.Uint32(p) != 0x80002010 {
		t.Errorf("CONFIG_ADDRESS is %x", p)
	}
	if reset.b[0] != 6 {
		t.Errorf("reset register got %#x, want 6", reset.b[0])
	}
	if ports.Read(1, p[:1]); p[0] != 6 {
		t.Errorf("reset register reads %#x", p[0])
	}
}

func TestReadOnlyBits(t *testing.T) {
	m := newMachine(t)
	f := pci.NewFunction(pci.ID{Vendor: 1, Device: 2, Class: 3})
	body := []byte{1, 2, 3, 4, 5, 6}
	mask := []byte{0, 0xf0, 0, 0, 0, 0xff}
	if err := f.AddCapability(pci.Capability{ID: 9, Body: body, Mask: mask}); err != nil {
		t.Fatal(err)
	}
	device := m.plug(f)
	before := make([]uint64, 64)
	for i := range before {
		before[i] = m.config(device, 4*i, 4)
	}
	for i := range before {
		m.setConfig(device, 4*i, 4, 0xffffffff)
	}
	writable := map[int]uint64{command: memory | master | 1<<10, 0x3c: 0xff, 0x40: 0xf0 << 24, 0x44: 0xff << 24}
	for i, v := range before {
		if got, want := m.config(device, 4*i, 4), v|writable[4*i]; got != want {
			t.Errorf("register %#x is %#x after writing ones, want %#x", 4*i, got, want)
		}
	}
}

func TestCapabilityList(t *testing.T) {
	m := newMachine(t)
	f := pci.NewFunction(pci.ID{})
	for i := range 5 {
		if err := f.AddCapability(pci.Capability{ID: uint8(10 + i), Body: make([]byte, 5+i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.AddCapability(pci.Capability{ID: 1, Body: make([]byte, 200)}); err == nil {
		t.Error("a capability that doesn't fit was accepted")
	}
	device := m.plug(f)
	if m.config(device, 6, 2)&(1<<4) == 0 {
		t.Error("status has no capability bit")
	}
	var ids []uint64
	for at := m.config(device, 0x34, 1); at != 0; at = m.config(device, int(at)+1, 1) {
		if at%4 != 0 || at < 0x40 {
			t.Fatalf("capability at %#x", at)
		}
		ids = append(ids, m.config(device, int(at), 1))
	}
	if len(ids) != 5 || ids[0] != 10 || ids[4] != 14 {
		t.Errorf("list has %v, want 10 to 14", ids)
	}
}

func TestBusIsFull(t *testing.T) {
	m := newMachine(t)
	for range 31 {
		m.plug(pci.NewFunction(pci.ID{}))
	}
	if _, err := m.host.Plug(pci.NewFunction(pci.ID{})); !errors.Is(err, pci.ErrFull) {
		t.Errorf("32nd device: %v, want ErrFull", err)
	}
	m = newMachine(t)
	f := pci.NewFunction(pci.ID{})
	if err := f.AddBAR(pci.BAR{Index: 0, Size: 2 * window.Size, Device: &registers{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.host.Plug(f); !errors.Is(err, pci.ErrFull) {
		t.Errorf("BAR larger than the window: %v, want ErrFull", err)
	}
}
