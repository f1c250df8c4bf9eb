package pci_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"splitvm/vmm/pci"
)

// msixGuest is a device with MSI-X in BAR 1 and a guest that has found it.
type msixGuest struct {
	*machine
	msix    *pci.MSIX
	device  int
	control int // register of message control
	table   uint64
	pba     uint64
}

func newMSIXGuest(t testing.TB, vectors int) *msixGuest {
	t.Helper()
	m := newMachine(t)
	f := pci.NewFunction(pci.ID{})
	msix, err := f.AddMSIX(1, vectors, &m.messages)
	if err != nil {
		t.Fatal(err)
	}
	g := &msixGuest{machine: m, msix: msix, device: m.plug(f)}
	at := int(m.config(g.device, 0x34, 1))
	if id := m.config(g.device, at, 1); id != 0x11 {
		t.Fatalf("capability %#x, want MSI-X", id)
	}
	g.control = at + 2
	table, pba := m.config(g.device, at+4, 4), m.config(g.device, at+8, 4)
	if table&7 != 1 || pba&7 != 1 {
		t.Fatalf("table %#x and PBA %#x are not in BAR 1", table, pba)
	}
	base := m.config(g.device, bar0+4, 4)
	g.table, g.pba = base+table&^7, base+pba&^7
	m.setConfig(g.device, command, 2, memory|master)
	return g
}

const (
	enable   = 1 << 15
	maskAll  = 1 << 14
	unmasked = 0
	masked   = 1
)

func (g *msixGuest) setControl(v uint64) { g.setConfig(g.device, g.control, 2, v) }

func (g *msixGuest) program(vector int, addr uint64, data uint32, mask uint64) {
	at := g.table + 16*uint64(vector)
	g.store(at+12, 4, masked)
	g.store(at, 4, addr&0xffffffff)
	g.store(at+4, 4, addr>>32)
	g.store(at+8, 4, uint64(data))
	g.store(at+12, 4, mask)
}

func (g *msixGuest) expect(t *testing.T, what string, want ...msi) {
	t.Helper()
	if diff := cmp.Diff(want, g.messages.take(), cmp.AllowUnexported(msi{})); diff != "" {
		t.Errorf("%s: messages (-want +got):\n%s", what, diff)
	}
}

func (g *msixGuest) pending() uint64 { return g.load(g.pba, 8) }

func TestMSIXTableSize(t *testing.T) {
	for _, n := range []int{1, 3, 128, 129, 2048} {
		g := newMSIXGuest(t, n)
		if got := g.config(g.device, g.control, 2) & 0x7ff; got != uint64(n-1) {
			t.Errorf("%d vectors: table size field is %d", n, got)
		}
		last := g.table + 16*uint64(n-1)
		g.store(last+8, 4, 77)
		if g.load(last+8, 4) != 77 || g.load(last+12, 4) != masked {
			t.Errorf("%d vectors: the last entry doesn't keep its data or isn't masked at first", n)
		}
		g.msix.Close()
		if g.messages.made != n || g.messages.open != 0 {
			t.Errorf("%d vectors: %d messages made, %d open after Close", n, g.messages.made, g.messages.open)
		}
	}
}

func TestMSIXDelivery(t *testing.T) {
	g := newMSIXGuest(t, 3)
	g.msix.Signal(0)
	g.expect(t, "MSI-X off")
	g.setControl(enable)
	g.expect(t, "what came while it was off is lost")
	g.program(0, 0xfee01000, 33, unmasked)
	g.program(2, 0x1_fee02000, 44, unmasked)
	g.msix.Signal(2)
	g.msix.Signal(0)
	g.msix.Signal(0)
	g.msix.Signal(3) // there is none
	g.expect(t, "on", msi{0x1_fee02000, 44}, msi{0xfee01000, 33}, msi{0xfee01000, 33})
	g.program(0, 0xfee03000, 55, unmasked)
	g.msix.Signal(0)
	g.expect(t, "routed anew", msi{0xfee03000, 55})
}

func TestMSIXPending(t *testing.T) {
	for name, gate := range map[string]struct{ shut, open func(g *msixGuest) }{
		"vector mask": {
			func(g *msixGuest) { g.store(g.table+16+12, 4, masked) },
			func(g *msixGuest) { g.store(g.table+16+12, 4, unmasked) }},
		"function mask": {
			func(g *msixGuest) { g.setControl(enable | maskAll) },
			func(g *msixGuest) { g.setControl(enable) }},
		"bus master": {
			func(g *msixGuest) { g.setConfig(g.device, command, 2, memory) },
			func(g *msixGuest) { g.setConfig(g.device, command, 2, memory|master) }},
		"no route": {
			func(g *msixGuest) { g.messages.full = true; g.store(g.table+16+8, 4, 67) },
			func(g *msixGuest) { g.messages.full = false; g.store(g.table+16+8, 4, 66) }},
	} {
		t.Run(name, func(t *testing.T) {
			g := newMSIXGuest(t, 2)
			g.setControl(enable)
			g.program(1, 0xfee00000, 66, unmasked)
			gate.shut(g)
			g.msix.Signal(1)
			g.msix.Signal(1)
			g.expect(t, "shut")
			if p := g.pending(); p != 1<<1 {
				t.Errorf("pending bits %#x, want vector 1's", p)
			}
			gate.open(g)
			g.expect(t, "open: once, however often it was signalled", msi{0xfee00000, 66})
			if p := g.pending(); p != 0 {
				t.Errorf("pending bits %#x after delivery", p)
			}
		})
	}
}

func TestMSIXDisableForgetsPending(t *testing.T) {
	g := newMSIXGuest(t, 1)
	g.setControl(enable | maskAll)
	g.program(0, 0xfee00000, 1, unmasked)
	g.msix.Signal(0)
	g.setControl(0)
	g.setControl(enable)
	g.expect(t, "after off and on")
}

func TestMSIXTableAccess(t *testing.T) {
	g := newMSIXGuest(t, 2)
	g.store(g.table, 8, 0x1122334455667788)
	if v := g.load(g.table, 8); v != 0x1122334455667788 {
		t.Errorf("quad word reads back as %#x", v)
	}
	g.store(g.table+1, 1, 0xff)
	g.store(g.table+2, 4, 0xffffffff)
	g.store(g.table+2, 2, 0xffff)
	if v := g.load(g.table, 8); v != 0x1122334455667788 {
		t.Errorf("an access that isn't allowed changed the table to %#x", v)
	}
	g.store(g.table+12, 4, 0xffffffff)
	if v := g.load(g.table+12, 4); v != 1 {
		t.Errorf("vector control keeps reserved bits: %#x", v)
	}
	g.store(g.table+32, 4, 1) // past the table
	g.store(g.pba, 4, 0xffffffff)
	if g.load(g.table+32, 4) != 0 || g.pending() != 0 || g.load(g.pba+8, 4) != 0 {
		t.Error("places that can't be written were")
	}
}

// TestMSIXLosesNothing signals from one goroutine while the guest masks and
// unmasks: at the end every signal was delivered or coalesced with a later one.
func TestMSIXLosesNothing(t *testing.T) {
	g := newMSIXGuest(t, 1)
	g.setControl(enable)
	g.program(0, 0xfee00000, 1, unmasked)
	var done sync.WaitGroup
	done.Go(func() {
		for range 2000 {
			g.msix.Signal(0)
		}
	})
	for i := range 2000 {
		g.store(g.table+12, 4, uint64(i&1))
		g.setControl(enable | uint64(i&2)<<13)
	}
	done.Wait()
	g.messages.take()
	g.store(g.table+12, 4, masked)
	g.setControl(enable)
	g.msix.Signal(0)
	g.store(g.table+12, 4, unmasked)
	g.expect(t, "last signal", msi{0xfee00000, 1})
	if p := g.pending(); p != 0 {
		t.Errorf("pending bits %#x at the end", p)
	}
}
