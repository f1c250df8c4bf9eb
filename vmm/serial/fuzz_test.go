package serial

import (
	"io"
	"testing"
)

// FuzzRegisters writes and reads registers at random, with input and output
// going on, and checks what must hold whatever a guest does.
func FuzzRegisters(f *testing.F) {
	for _, steps := range linux {
		var seed []byte
		for _, a := range steps {
			op := byte(a.reg)
			if a.write {
				op |= 8
			}
			seed = append(seed, op, a.v)
		}
		f.Add(seed, uint8(1))
	}
	f.Add([]byte{12, 2, 16, 9, 0, 0, 10, 1, 16, 99, 9, 15, 8, 1, 8, 1}, uint8(0))
	f.Fuzz(func(t *testing.T, ops []byte, buffer uint8) {
		g := newGuest(t, io.Discard, int(buffer))
		in := make(chan []byte, len(ops))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for p := range in {
				g.Input().Write(p)
			}
		}()
		for ; len(ops) >= 2; ops = ops[2:] {
			switch reg := uint64(ops[0] & 7); {
			case ops[0]&16 != 0:
				in <- make([]byte, ops[1])
			case ops[0]&8 != 0:
				g.out(reg, ops[1])
			default:
				g.in(reg)
			}
			g.check(t)
		}
		close(in)
		g.Close()
		<-done
	})
}

func (g *guest) check(t *testing.T) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rxLen < 0 || g.rxLen > g.depth() || g.rxLen != len(g.rx) {
		t.Fatalf("receive FIFO of %d says it has %d bytes", g.depth(), g.rxLen)
	}
	if high := g.cause() != iirNone; high != g.level || high != g.high.Load() {
		t.Fatalf("cause %#x with the line at %v", g.cause(), g.level)
	}
	if g.regs.IER&^ierAll != 0 || g.mcr&^mcrAll != 0 {
		t.Fatalf("IER %#x, MCR %#x have bits that a 16550A lacks", g.regs.IER, g.mcr)
	}
}
