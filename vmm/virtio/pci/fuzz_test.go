package pci_test

import (
	"io"
	"log/slog"
	"testing"

	"splitvm/guest/layout"
	"splitvm/vmm/fuzzinput"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// FuzzRegisters sends accesses of every width to the whole function, with a
// ring that may be sound or not and a device that runs when the sequence says
// so. Afterwards a driver that behaves must be served.
func FuzzRegisters(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{9, 1, 2, 9, 1, 2, 8})
	f.Add([]byte{8, 9, 9, 10, 0, 9, 8, 0, 0, 0x14, 0, 0})
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	f.Fuzz(func(t *testing.T, input []byte) {
		g := newGuest(t, &echo{queues: 2}, len(input)%2 == 1)
		in := fuzzinput.New(input)
		var ring virtiotest.Ring
		for range 300 {
			if in.Len() == 0 {
				break
			}
			switch in.Byte() % 12 {
			case 8: // a driver that knows what it does
				g.assign()
				ring = g.begin()
			case 9:
				if ring != nil {
					ring.Add([]virtq.Span{{GPA: 0x8000, Len: 4}}, []virtq.Span{{GPA: 0x9000, Len: 4}})
					g.kick(1)
				}
			case 10: // ring memory
				g.check(g.mem.Store16(0x10000+layout.GPA(in.Byte())*64&^1, uint16(in.Word())))
			case 11:
				g.randomConfig(in)
			default:
				g.randomRegister(in)
			}
		}
		g.assign()
		g.echoOnce(g.begin(), 77)
	})
}

// assign gives the BARs addresses, as firmware does, and finds the registers.
func (g *guest) assign() {
	g.config16(4, 0)
	for reg, v := range map[int]uint64{0x14: 0xc0000000, 0x20: 0xc0004000, 0x24: 0} {
		g.store(g.ecam(reg), 4, v)
	}
	g.config16(4, 2|4)
	g.discover()
}

func (g *guest) randomRegister(in *fuzzinput.Reader) {
	bases := []uint64{g.common, g.common, g.common, g.common, g.common, g.isr, g.device, g.notify}
	at := bases[in.Byte()%8] + uint64(in.Byte()%72)
	width := 1 << (in.Byte() % 4)
	if g.store(at, width, in.Word()); in.Byte()%2 == 0 {
		g.load(at, width)
	}
}

func (g *guest) randomConfig(in *fuzzinput.Reader) {
	at := g.ecam(int(in.Byte()))
	width := 1 << (in.Byte() % 3)
	g.store(at, width, in.Word())
	g.load(at, width)
}
