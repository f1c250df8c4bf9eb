package serial

import "testing"

// access is one step of a driver: a write, or a read and what it must give.
type access struct {
	write bool
	reg   uint64
	v     byte
	mask  byte // of a read; 0 for any value
}

func w(reg uint64, v byte) access       { return access{write: true, reg: reg, v: v} }
func r(reg uint64, v, mask byte) access { return access{reg: reg, v: v, mask: mask} }
func skip(reg uint64) access            { return access{reg: reg} }

const (
	lcrModeA = 0x80
	lcrModeB = 0xbf
	ierUUE   = 0x40
	fcr64    = 0x20
)

// What Linux's drivers/tty/serial/8250/8250_port.c does (6.1 and 6.12), and
// what it has to read to find a working 16550A and none of its relatives.
var linux = map[string][]access{
	"autoconfig": {
		skip(regIER), w(regIER, 0), r(regIER, 0, 0x0f), w(regIER, ierAll), r(regIER, ierAll, 0x0f), w(regIER, 0),
		skip(regMCR), skip(regLCR),
		w(regMCR, mcrLoop|mcrOUT2|mcrRTS), r(regMSR, msrDCD|msrCTS, 0xf0), w(regMCR, 0),
		w(regLCR, lcrModeB), w(regIIR, 0), w(regLCR, 0), w(regIIR, fcrEnable), r(regIIR, 0xc0, 0xc0),
	},
	"autoconfig_16550a": {
		w(regIIR, fcrEnable),
		w(regLCR, lcrModeA), r(regIIR, 0xc0, 0xc0), // not zero: no EFR, so not a 16C650
		w(regLCR, lcrModeB), r(regIIR, 0xc0, 0xc0),
		w(regLCR, 0), skip(regMCR), w(regLCR, 0xe0), r(regIIR, 0, mcrLoop), // no National Semiconductor EXCR1
		w(regLCR, 0), w(regMCR, mcrLoop), w(regLCR, 0xe0), r(regIIR, 0, mcrLoop), w(regLCR, 0), w(regMCR, 0),
		w(regIIR, fcrEnable), r(regIIR, 0xc0, 0xe0), // a TI16750 has bit 5
		w(regIIR, fcrEnable|fcr64), w(regLCR, lcrModeA), w(regIIR, fcrEnable|fcr64), r(regIIR, 0xc0, 0xe0), w(regIIR, fcrEnable), w(regLCR, 0),
		w(regIER, 0), r(regIER, 0, ierUUE), w(regIER, ierUUE), r(regIER, 0, ierUUE), w(regIER, 0), // no XScale
	},
	"startup": {
		w(regIIR, fcrEnable), w(regIIR, fcrEnable|fcrClearRx|4), w(regIIR, 0), // serial8250_clear_fifos
		skip(regLSR), skip(regData), skip(regIIR), skip(regMSR),
		w(regIIR, fcrEnable), r(regLSR, lsrTHRE|lsrTEMT, 0xff), // 0xff would be no port
		// serial8250_THRE_test: enabling brings the interrupt each time.
		w(regIER, ierTHRI), r(regIIR, iirTHRI|iirFIFO, 0xff), w(regIER, 0), w(regIER, ierTHRI), r(regIIR, iirTHRI|iirFIFO, 0xff), w(regIER, 0),
		w(regLCR, 3), w(regMCR, mcrDTR|mcrRTS|mcrOUT2),
		// The UART_BUG_TXEN test.
		w(regIER, ierTHRI), r(regLSR, lsrTEMT, lsrTEMT), r(regIIR, iirTHRI|iirFIFO, 0xff), w(regIER, 0),
		skip(regLSR), skip(regData), r(regIIR, iirNone|iirFIFO, 0xff), r(regMSR, msrDCD|msrDSR|msrCTS, 0xf0),
		w(regIER, ierRLSI|ierRDI),
	},
	"set_divisor": {
		w(regLCR, 0x83), w(regData, 1), w(regIER, 0), w(regLCR, 3), w(regIIR, fcrEnable|2<<fcrTrigger),
		w(regLCR, 0x83), r(regData, 1, 0xff), r(regIER, 0, 0xff), w(regLCR, 3), r(regLCR, 3, 0xff),
		w(regScratch, 0x5a), r(regScratch, 0x5a, 0xff),
	},
}

func (g *guest) play(t *testing.T, name string) {
	t.Helper()
	for i, a := range linux[name] {
		if a.write {
			g.out(a.reg, a.v)
		} else if got := g.in(a.reg); got&a.mask != a.v&a.mask {
			t.Errorf("%s, step %d: register %d is %#x, want %#x in %#x", name, i, a.reg, got, a.v, a.mask)
		}
	}
}

func TestLinuxFindsA16550A(t *testing.T) {
	g := newGuest(t, nil, 0)
	for _, name := range []string{"autoconfig", "autoconfig_16550a", "startup", "set_divisor"} {
		g.play(t, name)
	}
	g.wantLine(t, false, "after startup")
	// serial8250_start_tx, then the interrupt handler's loop until IIR says none.
	g.out(regIER, ierRDI|ierRLSI|ierTHRI)
	sent := 0
	for iir := g.in(regIIR); iir&iirNone == 0; iir = g.in(regIIR) {
		if sent == 64 {
			g.out(regIER, ierRDI|ierRLSI)
			continue
		}
		for range fifoDepth {
			g.out(regData, 'x')
			sent++
		}
	}
	if sent != 64 {
		t.Errorf("the handler sent %d bytes before the port fell silent, want 64", sent)
	}
	g.wantLine(t, false, "after sending")
}
