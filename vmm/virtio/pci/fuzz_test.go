package pci_test

import (
	"io"
	"log/slog"
	"testing"

	"splitvm/guest/layout"
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
		in := &reader{b: input}
		var ring virtiotest.Ring
		for range 300 {
			if len(in.b) == 0 {
				break
			}
			switch in.byte() % 12 {
			case 8: // a driver that knows what it does
				g.assign()
				ring = g.begin()
			case 9:
				if ring != nil {
					ring.Add([]virtq.Span{{GPA: 0x8000, Len: 4}}, []virtq.Span{{GPA: 0x9000, Len: 4}})
					g.kick(1)
				}
			case 10: // ring memory
				g.check(g.mem.Store16(0x10000+layout.GPA(in.byte())*64&^1, uint16(in.word())))
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

func (g *guest) randomRegister(in *reader) {
	bases := []uint64{g.common, g.common, g.common, g.common, g.common, g.isr, g.device, g.notify}
	at := bases[in.byte()%8] + uint64(in.byte()%72)
	width := 1 << (in.byte() % 4)
	if g.store(at, width, in.word()); in.byte()%2 == 0 {
		g.load(at, width)
	}
}

func (g *guest) randomConfig(in *reader) {
	at := g.ecam(int(in.byte()))
	width := 1 << (in.byte() % 3)
	g.store(at, width, in.word())
	g.load(at, width)
}

// reader hands out the input, then zeroes.
type reader struct{ b []byte }

func (r *reader) byte() uint8 {
	if len(r.b) == 0 {
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// word is a value of one byte, moved anywhere, or of eight bytes.
func (r *reader) word() uint64 {
	shift := r.byte()
	if shift < 200 {
		return uint64(r.byte()) << (shift % 64)
	}
	var v uint64
	for range 8 {
		v = v<<8 | uint64(r.byte())
	}
	return v
}
