package serial

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// line records an interrupt line.
type line struct {
	high  atomic.Bool
	edges atomic.Int64 // rising
	twice atomic.Bool  // driven to the level that it had
}

func (l *line) set(high bool) {
	if l.high.Swap(high) == high {
		l.twice.Store(true)
	}
	if high {
		l.edges.Add(1)
	}
}

// guest makes single port accesses.
type guest struct {
	*UART
	line
}

func (g *guest) in(reg uint64) byte {
	var p [1]byte
	g.Read(reg, p[:])
	return p[0]
}

func (g *guest) out(reg uint64, v byte) { g.Write(reg, []byte{v}) }

func (g *guest) want(t *testing.T, reg uint64, v byte, what string) {
	t.Helper()
	if got := g.in(reg); got != v {
		t.Errorf("%s: register %d is %#x, want %#x", what, reg, got, v)
	}
}

func (g *guest) wantLine(t *testing.T, high bool, what string) {
	t.Helper()
	if g.high.Load() != high {
		t.Errorf("%s: line is %v, want %v", what, !high, high)
	}
}

func newGuest(t testing.TB, w io.Writer, buffer int) *guest {
	t.Helper()
	g := &guest{}
	u, err := New(Config{Output: w, SetLine: g.set, Buffer: buffer})
	if err != nil {
		t.Fatal(err)
	}
	g.UART = u
	t.Cleanup(func() {
		u.Close()
		if g.twice.Load() {
			t.Error("the line was driven to the level that it had")
		}
	})
	return g
}

// gate is a writer that blocks until opened.
type gate struct {
	entered chan struct{}
	open    chan struct{}
	once    sync.Once
	mu      sync.Mutex
	buf     bytes.Buffer
}

func newGate() *gate { return &gate{entered: make(chan struct{}), open: make(chan struct{})} }

func (g *gate) Write(p []byte) (int, error) {
	g.once.Do(func() { close(g.entered) })
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.buf.Write(p)
}

func TestOutputReachesWriterInOrder(t *testing.T) {
	var got bytes.Buffer
	g := newGuest(t, &got, 0)
	want := strings.Repeat("the quick brown fox\r\n", 1000)
	for i := 0; i < len(want); {
		for g.in(regLSR)&lsrTHRE == 0 {
			time.Sleep(time.Millisecond)
		}
		for end := min(i+fifoDepth, len(want)); i < end; i++ {
			g.out(regData, want[i])
		}
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if got.String() != want || g.Dropped() != 0 {
		t.Errorf("%d bytes came out and %d were dropped, of %d", got.Len(), g.Dropped(), len(want))
	}
}

func TestFullOutputHoldsGuestNotThread(t *testing.T) {
	w := newGate()
	g := newGuest(t, w, 32)
	g.out(regIER, ierTHRI)
	g.out(regData, 'a')
	<-w.entered // the writer is stuck with the first byte
	sent := 1
	for g.in(regLSR)&lsrTHRE != 0 {
		g.out(regData, 'b')
		sent++
	}
	if sent != 1+17 {
		t.Errorf("%d bytes went in before THRE cleared, want 18", sent)
	}
	g.want(t, regIIR, iirNone, "no transmitter interrupt while there is no room")
	g.wantLine(t, false, "no room")
	for range 20 { // in spite of THRE; the last 5 find no place
		g.out(regData, 'c')
	}
	edges := g.edges.Load()
	close(w.open)
	for deadline := time.Now().Add(time.Minute); !g.high.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no interrupt when there is room again")
		}
	}
	if g.edges.Load() != edges+1 {
		t.Errorf("%d interrupts for one change", g.edges.Load()-edges)
	}
	g.want(t, regIIR, iirTHRI, "room again")
	g.want(t, regLSR, lsrTHRE|lsrTEMT, "room again")
	g.Close()
	if want := "a" + strings.Repeat("b", 17) + strings.Repeat("c", 15); w.buf.String() != want || g.Dropped() != 5 {
		t.Errorf("%q came out and %d were dropped", w.buf.String(), g.Dropped())
	}
}

type broken struct{ gate }

func (b *broken) Write(p []byte) (int, error) {
	b.gate.Write(p)
	return 0, io.ErrClosedPipe
}

func TestFailedOutputLetsGuestGoOn(t *testing.T) {
	w := &broken{*newGate()}
	g := newGuest(t, w, 16)
	g.out(regIER, ierTHRI)
	g.out(regData, 'a')
	<-w.entered
	g.out(regData, 'b')
	g.wantLine(t, false, "no room")
	close(w.open)
	for deadline := time.Now().Add(time.Minute); !g.high.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the guest waits for ever after the output failed")
		}
	}
	for range 100 {
		g.out(regData, 'c')
		if g.in(regLSR)&lsrTHRE == 0 {
			t.Fatal("THRE clear after the output failed")
		}
	}
	if err := g.Close(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Close: %v, want the output's error", err)
	}
	if g.Dropped() != 101 {
		t.Errorf("%d dropped, want 101", g.Dropped())
	}
}

func TestInputWaitsForGuest(t *testing.T) {
	g := newGuest(t, nil, 0)
	want := strings.Repeat("0123456789", 50)
	done := make(chan error, 1)
	go func() {
		_, err := io.WriteString(g.Input(), want)
		done <- err
	}()
	for range 5 { // nothing is given to a guest that does not listen
		time.Sleep(time.Millisecond)
		if g.in(regLSR)&lsrDR != 0 {
			t.Fatal("data before RTS")
		}
	}
	g.out(regIIR, fcrEnable)
	g.out(regMCR, mcrRTS)
	var got []byte
	for len(got) < len(want) {
		if g.in(regLSR)&lsrDR != 0 {
			got = append(got, g.in(regData))
		}
	}
	if err := <-done; err != nil || string(got) != want {
		t.Errorf("guest read %q (%v)", got, err)
	}
}

func TestInputInterrupts(t *testing.T) {
	g := newGuest(t, nil, 0)
	g.out(regIIR, fcrEnable|3<<fcrTrigger) // at 14 bytes
	g.out(regIER, ierRDI)
	g.wantLine(t, false, "nothing received")
	g.Input().Write([]byte("x"))
	g.wantLine(t, true, "a byte")
	g.want(t, regIIR, iirTimeout|iirFIFO, "below the trigger")
	g.Input().Write(bytes.Repeat([]byte("y"), 13))
	g.want(t, regIIR, iirRDI|iirFIFO, "at the trigger")
	g.in(regData)
	g.want(t, regIIR, iirTimeout|iirFIFO, "below again")
	g.wantLine(t, true, "more to read")
	for range 13 {
		g.in(regData)
	}
	g.wantLine(t, false, "all read")
	g.want(t, regIIR, iirNone|iirFIFO, "all read")
	g.Input().Write([]byte("zz"))
	g.out(regIIR, fcrEnable|fcrClearRx)
	g.wantLine(t, false, "cleared")
	g.want(t, regLSR, lsrTHRE|lsrTEMT, "cleared")
}

func TestCloseEndsInput(t *testing.T) {
	g := newGuest(t, nil, 0)
	g.out(regMCR, mcrRTS)
	done := make(chan error, 1)
	go func() {
		n, err := g.Input().Write(make([]byte, 100))
		if n != 1 {
			t.Errorf("%d bytes went into a register for one", n)
		}
		done <- err
	}()
	for g.in(regLSR)&lsrDR == 0 {
		time.Sleep(time.Millisecond)
	}
	g.Close()
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Input after Close: %v", err)
	}
	g.out(regData, 'x') // a vCPU may still be about
}

func TestInterruptPriorities(t *testing.T) {
	g := newGuest(t, nil, 0)
	g.out(regMCR, mcrLoop)
	g.out(regIER, ierAll)
	g.out(regData, 1)
	g.out(regData, 2)               // overrun
	g.out(regMCR, mcrLoop|mcrOUT1)  // modem status
	g.want(t, regIIR, iirRLSI, "1") // reading does not acknowledge it
	g.want(t, regIIR, iirRLSI, "2")
	g.want(t, regLSR, lsrOE|lsrDR|lsrTHRE|lsrTEMT, "3")
	g.want(t, regIIR, iirRDI, "4")
	g.want(t, regData, 1, "5")
	g.want(t, regIIR, iirTHRI, "6")
	g.want(t, regIIR, iirMSI, "7")
	g.wantLine(t, true, "8")
	g.want(t, regMSR, msrRI|msrDCD>>4|msrDSR>>4|msrCTS>>4, "9") // the peer's signals went with loopback
	g.want(t, regIIR, iirNone, "10")
	g.wantLine(t, false, "11")
	g.out(regMCR, mcrLoop)
	g.want(t, regMSR, msrTERI, "12")
}

func TestTransmitterInterruptIsAnEdge(t *testing.T) {
	g := newGuest(t, nil, 0)
	g.out(regIER, ierTHRI)
	for i := range int64(5) {
		if n := g.edges.Load(); n != i+1 {
			t.Fatalf("%d edges after %d bytes", n, i)
		}
		g.out(regData, 'x') // without reading IIR
	}
	g.out(regIER, 0)
	g.wantLine(t, false, "disabled")
	g.out(regIER, ierTHRI)
	g.wantLine(t, true, "enabled again")
}

func TestWideAccess(t *testing.T) {
	g := newGuest(t, nil, 0)
	g.Write(regLCR, []byte{0x83, mcrDTR})
	g.Write(regData, []byte{0x34, 0x12})
	p := make([]byte, 4)
	g.Read(regData, p)
	if !bytes.Equal(p, []byte{0x34, 0x12, iirNone, 0x83}) {
		t.Errorf("four registers: %x", p)
	}
	g.want(t, regMCR, mcrDTR, "second byte")
}

func TestFIFOClearsWhateverDLAB(t *testing.T) {
	g := newGuest(t, nil, 0)
	g.out(regIIR, fcrEnable)
	g.out(regMCR, mcrRTS)
	g.Input().Write([]byte("stale"))
	g.out(regLCR, 0xbf)
	g.out(regIIR, 0) // EFR of other chips; here FIFO control
	g.out(regLCR, 3)
	g.want(t, regLSR, lsrTHRE|lsrTEMT, "cleared with DLAB set")
	g.Input().Write([]byte("n"))
	g.want(t, regData, 'n', "first byte after clearing")
	g.want(t, regLCR, 3, "LCR")
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{{}, {SetLine: func(bool) {}, Buffer: -1}} {
		if u, err := New(c); err == nil {
			u.Close()
			t.Errorf("New(%+v) was taken", c)
		}
	}
}
