package pci_test

import (
	"encoding/binary"
	"testing"

	"splitvm/guest/layout"
	"splitvm/vmm/fuzzinput"
	"splitvm/vmm/pci"
)

// FuzzConfigSpace makes accesses of every width to the ports, to ECAM and to
// where BARs were put. BARs decode in windows only, and nothing is left when
// the host is closed.
func FuzzConfigSpace(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1})
	f.Add(binary.LittleEndian.AppendUint64([]byte{3, 4, 4, 2}, memory|master))
	f.Fuzz(func(t *testing.T, input []byte) {
		m := newMachine(t, windows()...)
		var boards []*pci.MSIX
		for range 2 {
			boards = append(boards, plugBoard(t, m))
		}
		in := fuzzinput.New(input)
		for range 400 {
			if in.Len() == 0 {
				break
			}
			m.randomAccess(in)
			boards[in.Byte()%2].Signal(uint16(in.Byte()) % 5)
		}
		m.checkWindows()
		m.host.Close()
		if n := len(m.bells.attached); n != 0 {
			t.Errorf("%d doorbells left after Close", n)
		}
		for _, w := range windows() {
			for at := w.Start; at < w.Start+0x200000; at += 0x1000 {
				if m.store(uint64(at), 4, 0) {
					t.Fatalf("a BAR is left at %#x after Close", at)
				}
			}
		}
		for _, b := range boards {
			b.Close()
		}
		if m.messages.open != 0 {
			t.Errorf("%d messages left after Close", m.messages.open)
		}
	})
}

// plugBoard is a function that has one of everything.
func plugBoard(t *testing.T, m *machine) *pci.MSIX {
	f := pci.NewFunction(pci.ID{Vendor: 0xabcd})
	msix, err := f.AddMSIX(1, 4, &m.messages)
	if err != nil {
		t.Fatal(err)
	}
	bar := pci.BAR{Index: 2, Size: 16 << 10, Wide: true, Device: &registers{b: make([]byte, 16<<10)}, Bells: []pci.Bell{{Offset: 0x1000, FD: 3}, {Offset: 0x1004, Size: 4, FD: 4}}}
	if err := f.AddBAR(bar); err != nil {
		t.Fatal(err)
	}
	touched := 0
	hook := func(body []byte, off, n int) {
		if off < 0 || n <= 0 || off+n > len(body) {
			t.Fatalf("capability hook is told of %d bytes at %d of %d", n, off, len(body))
		}
		touched++
	}
	if err := f.AddCapability(pci.Capability{ID: 9, Body: make([]byte, 17), Mask: []byte{0xff, 0, 0xaa}, BeforeRead: hook, AfterWrite: hook}); err != nil {
		t.Fatal(err)
	}
	m.plug(f)
	return msix
}

func (m *machine) randomAccess(in *fuzzinput.Reader) {
	width := 1 << (in.Byte() % 4)
	var at uint64
	switch kind := in.Byte() % 8; kind {
	case 0, 1: // ports
		p := binary.LittleEndian.AppendUint64(nil, in.Word())[:min(width, 4)]
		port := pci.PortsStart + uint64(in.Byte()%8)
		m.ports.Write(port, p)
		m.ports.Read(port, p)
		return
	case 2: // a BAR as it was first, or anywhere near
		at = uint64(window.Start) + uint64(in.Byte())<<12 + uint64(in.Byte())
	case 3:
		at = uint64(highWindow.Start) + uint64(in.Byte())<<12 + uint64(in.Byte())
	default:
		at = ecamAt(int(in.Byte())%4, int(in.Byte()))
		if in.Byte()%16 == 0 {
			at += uint64(in.Byte()) << 8
		}
	}
	m.store(at, width, in.Word())
	m.load(at, width)
}

// checkWindows fails if RAM or a part of the machine was covered.
func (m *machine) checkWindows() {
	m.t.Helper()
	if class := m.config(0, 8, 4) >> 16; class != 0x0600 {
		m.t.Errorf("the host bridge's class is %#x now", class)
	}
	for _, at := range []layout.GPA{0, 0x1000, 0x100000, 0xbffff000, window.End(), layout.IOAPICAddr, layout.LAPICAddr, layout.HighRAMStart, highWindow.Start - 0x4000, highWindow.End()} {
		if m.mmio.Read(uint64(at), make([]byte, 4)) {
			m.t.Errorf("something decodes at %#x", at)
		}
	}
	for b := range m.bells.attached {
		if !window.Contains(b.gpa, 4) && !highWindow.Contains(b.gpa, 4) {
			m.t.Errorf("a doorbell at %#x", b.gpa)
		}
	}
}

// FuzzMSIX mixes table, mask and route changes with signals. A message goes
// out only when nothing masks it, and none is lost.
func FuzzMSIX(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1})
	f.Add([]byte{5, 0, 4, 0x80, 1, 12, 4, 0, 6, 0, 6, 1, 0, 0, 4, 1, 6, 0, 5, 0, 4, 0xc0, 6, 2, 5, 0, 4, 0x80})
	f.Fuzz(func(t *testing.T, input []byte) {
		g := newMSIXGuest(t, 3)
		in := fuzzinput.New(input)
		for range 400 {
			if in.Len() == 0 {
				break
			}
			g.step(in)
		}
		g.finish()
	})
}

func (g *msixGuest) step(in *fuzzinput.Reader) {
	switch in.Byte() % 8 {
	case 0, 1, 2:
		g.store(g.table+uint64(in.Byte())%80, 1<<(in.Byte()%4), in.Word())
	case 3:
		g.load(g.table+uint64(in.Byte())*16, 1<<(in.Byte()%4))
	case 4:
		g.messages.full = in.Byte()%2 == 0
	case 5:
		g.setConfig(g.device, g.control-int(in.Byte()%2), 1<<(in.Byte()%3), uint64(in.Byte())<<8)
	case 6:
		v := uint16(in.Byte() % 4)
		g.messages.take() // what others let out
		g.msix.Signal(v)
		g.checkSent(v)
	case 7:
		g.setConfig(g.device, command, 2, uint64(in.Byte())&master|memory)
	}
}

// checkSent: a signal was sent now or is pending, unless MSI-X is off.
func (g *msixGuest) checkSent(v uint16) {
	g.t.Helper()
	control := g.config(g.device, g.control, 2)
	sent, pending := len(g.messages.take()), g.pending()&(1<<v) != 0
	open := control&enable != 0 && control&maskAll == 0 && g.config(g.device, command, 2)&master != 0 &&
		v < 3 && g.load(g.table+16*uint64(v)+12, 4)&1 == 0
	switch {
	case sent > 0 && !open:
		g.t.Fatalf("vector %d was sent though it is masked", v)
	case control&enable != 0 && v < 3 && sent == 0 && !pending:
		g.t.Fatalf("signal of vector %d is lost", v)
	case open && !g.messages.full && pending:
		g.t.Fatalf("vector %d is pending with nothing in its way", v)
	}
}

// finish opens everything: nothing may stay pending.
func (g *msixGuest) finish() {
	g.messages.full = false
	g.setConfig(g.device, command, 2, memory|master)
	g.setControl(enable)
	for v := range 3 {
		g.program(v, 0xfee00000, uint32(v), unmasked)
	}
	if p := g.pending(); p != 0 {
		g.t.Fatalf("pending bits %#x at the end", p)
	}
}
