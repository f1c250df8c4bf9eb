package pci_test

import (
	"testing"

	"splitvm/guest/layout"
	"splitvm/vmm/pci"
)

var highWindow = layout.Range{Start: 0x100_0000_0000, Size: 1 << 40}

func windows() []layout.Range { return []layout.Range{window, highWindow} }

// plugBARs is a device with a 32-bit BAR 0 of 8 KiB and a 64-bit BAR 2 of
// 64 KiB with a bell.
func plugBARs(t *testing.T, m *machine) (device int, small, wide *registers) {
	t.Helper()
	small, wide = &registers{b: make([]byte, 8<<10)}, &registers{b: make([]byte, 64<<10)}
	f := pci.NewFunction(pci.ID{})
	for _, b := range []pci.BAR{
		{Index: 0, Size: 8 << 10, Device: small},
		{Index: 2, Size: 64 << 10, Wide: true, Device: wide, Bells: []pci.Bell{{Offset: 0x3000, Size: 2, FD: 7}}},
	} {
		if err := f.AddBAR(b); err != nil {
			t.Fatal(err)
		}
	}
	return m.plug(f), small, wide
}

func TestBARSizing(t *testing.T) {
	m := newMachine(t, windows()...)
	device, _, _ := plugBARs(t, m)
	for reg, want := range map[int]uint64{0: 0xffffe000, 1: 0, 2: 0xffff0004, 3: 0xffffffff, 4: 0, 5: 0} {
		before := m.config(device, bar0+4*reg, 4)
		m.setConfig(device, bar0+4*reg, 4, 0xffffffff)
		if got := m.config(device, bar0+4*reg, 4); got != want {
			t.Errorf("BAR %d sizes to %#x, want %#x", reg, got, want)
		}
		m.setConfig(device, bar0+4*reg, 4, before)
	}
}

func TestPlugGivesAddresses(t *testing.T) {
	m := newMachine(t)
	seen := map[uint64]bool{}
	for range 4 {
		device, small, wide := plugBARs(t, m)
		m.setConfig(device, command, 2, memory)
		low, high := m.config(device, bar0, 4)&^0xf, m.config(device, bar0+8, 8)&^0xf
		if !window.Contains(layout.GPA(low), 8<<10) || !window.Contains(layout.GPA(high), 64<<10) || low%(8<<10) != 0 || high%(64<<10) != 0 || seen[low] || seen[high] {
			t.Fatalf("BARs at %#x and %#x", low, high)
		}
		seen[low], seen[high] = true, true
		m.store(low+4, 4, 0x11)
		m.store(high+0xfffc, 4, 0x22)
		if small.b[4] != 0x11 || wide.b[0xfffc] != 0x22 {
			t.Error("accesses don't reach the device behind the BAR")
		}
	}
}

func TestDecoding(t *testing.T) {
	m := newMachine(t, windows()...)
	device, small, wide := plugBARs(t, m)
	first := m.config(device, bar0, 4)
	if m.store(first, 4, 1) {
		t.Fatal("BAR decodes before memory is enabled")
	}
	m.setConfig(device, command, 2, memory)
	m.store(first, 1, 1)
	m.setConfig(device, bar0, 4, first+0x40000) // moved while decoding
	if m.store(first, 1, 9) {
		t.Error("BAR still decodes where it was")
	}
	if m.load(first+0x40000, 1) != 1 || small.b[0] != 1 {
		t.Error("BAR doesn't decode where it was moved")
	}
	// Above 4 GiB, half by half: in between it is nowhere.
	m.setConfig(device, bar0+12, 4, uint64(highWindow.Start>>32))
	m.setConfig(device, bar0+8, 4, 0xab0000)
	if !m.store(uint64(highWindow.Start)+0xab0000, 1, 5) || wide.b[0] != 5 {
		t.Error("64-bit BAR doesn't decode above 4 GiB")
	}
	m.setConfig(device, command, 2, 0)
	if m.store(first+0x40000, 1, 1) || m.store(uint64(highWindow.Start)+0xab0000, 1, 1) {
		t.Error("BARs decode with memory off")
	}
}

// TestForbiddenPlaces: outside the windows a BAR decodes nowhere, so that it
// can't cover RAM or another part of the machine.
func TestForbiddenPlaces(t *testing.T) {
	m := newMachine(t, windows()...)
	device, _, _ := plugBARs(t, m)
	m.setConfig(device, command, 2, memory)
	for _, at := range []uint64{0, 0x1000_0000, uint64(window.End()), uint64(window.Start) - 8<<10, uint64(layout.ECAMStart), 0xfec0_0000, 0xfee0_0000, 0xffff_e000} {
		m.setConfig(device, bar0, 4, at)
		at &^= 8<<10 - 1
		if m.load(at, 4) != 0xffffffff && at != uint64(layout.ECAMStart) {
			t.Errorf("BAR decodes at %#x", at)
		}
	}
	if m.config(0, 8, 4)>>16 != 0x0600 {
		t.Error("a BAR covers the configuration space")
	}
}

// TestPartlyInWindow: all of a BAR has to be in a window.
func TestPartlyInWindow(t *testing.T) {
	m := newMachine(t, layout.Range{Start: window.Start, Size: 0x21000}, layout.Range{Start: window.Start + 0x100000, Size: 0x1000})
	device, _, _ := plugBARs(t, m)
	m.setConfig(device, command, 2, memory)
	at := uint64(window.Start) + 0x100000
	m.setConfig(device, bar0, 4, at)
	if m.store(at, 4, 1) {
		t.Error("a BAR of 8 KiB decodes in a window of 4")
	}
}

// TestSwap moves two BARs to each other's places, one at a time: the first has
// to wait until its place is free.
func TestSwap(t *testing.T) {
	m := newMachine(t)
	one, first, _ := plugBARs(t, m)
	two, second, _ := plugBARs(t, m)
	m.setConfig(one, command, 2, memory)
	m.setConfig(two, command, 2, memory)
	a, b := m.config(one, bar0, 4), m.config(two, bar0, 4)
	m.setConfig(one, bar0, 4, b)
	m.store(b, 1, 1)
	m.setConfig(two, bar0, 4, a)
	m.store(b, 1, 2)
	m.store(a, 1, 3)
	if second.b[0] != 3 || first.b[0] != 2 {
		t.Errorf("after the swap the writes arrived as %d and %d", first.b[0], second.b[0])
	}
}

func TestBellsFollowTheBAR(t *testing.T) {
	m := newMachine(t)
	device, _, wide := plugBARs(t, m)
	at := m.config(device, bar0+8, 8) &^ 0xf
	check := func(what string, want ...layout.GPA) {
		t.Helper()
		for _, gpa := range want {
			if !m.bells.attached[bell{gpa, 2, 7}] {
				t.Errorf("%s: no bell at %#x", what, gpa)
			}
		}
		if len(m.bells.attached) != len(want) {
			t.Errorf("%s: bells %v", what, m.bells.attached)
		}
	}
	check("before")
	m.setConfig(device, command, 2, memory)
	check("memory on", layout.GPA(at+0x3000))
	m.setConfig(device, bar0+8, 4, at+0x100000)
	check("moved", layout.GPA(at+0x103000))
	m.bells.refuse = true
	m.setConfig(device, bar0+8, 4, at)
	check("refused")
	if !m.store(at+0x3000, 2, 1) || wide.b[0x3000] != 1 {
		t.Error("a write to a bell that could not be attached doesn't reach the device")
	}
	m.bells.refuse = false
	m.setConfig(device, bar0+8, 4, at+0x200000)
	m.host.Close()
	check("closed")
}

func TestBadBARs(t *testing.T) {
	for name, b := range map[string]pci.BAR{
		"too small": {Size: 2048}, "odd size": {Size: 12 << 10}, "too large": {Size: 4 << 30}, "zero": {},
		"index": {Index: 6, Size: 4096}, "negative": {Index: -1, Size: 4096}, "wide in the last": {Index: 5, Size: 4096, Wide: true},
		"taken by the upper half": {Index: 3, Size: 4096}, "taken": {Index: 2, Size: 4096},
	} {
		f := pci.NewFunction(pci.ID{})
		if err := f.AddBAR(pci.BAR{Index: 2, Size: 4096, Wide: true}); err != nil {
			t.Fatal(err)
		}
		if f.AddBAR(b) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
