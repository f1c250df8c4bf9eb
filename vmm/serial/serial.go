package serial

import (
	"fmt"
	"io"
	"sync"

	gokvm "github.com/bobuhiro11/gokvm/serial"

	"splitvm/vmm/bus"
)

// DefaultBuffer is the output buffer's size in bytes, of Linux's default
// printk buffer's order of magnitude.
const DefaultBuffer = 64 << 10

// Config says where a UART's bytes and interrupts go.
type Config struct {
	// Output takes what the guest sends, from one goroutine. A Write that
	// blocks holds up the guest's output and nothing else, and Close. After
	// its first error the rest is thrown away. Nil: all is thrown away.
	Output io.Writer
	// SetLine drives the interrupt line; it is called on changes only, on any
	// goroutine, with locks held, and must not block.
	SetLine func(high bool)
	// Buffer is how many bytes wait for Output; 0 is DefaultBuffer.
	Buffer int
}

// UART is one port. Read and Write are the guest's, Input and Close the host's.
type UART struct {
	setLine func(high bool)
	out     *output

	inMu sync.Mutex // one Input write at a time

	mu      sync.Mutex
	regs    *gokvm.Serial // IER, LCR, receive queue; guarded by mu, as all below
	divisor [2]byte
	fifo    bool
	trigger int
	mcr     byte
	scratch byte
	errors  byte // LSR bits that reading clears
	changes byte // MSR bits that reading clears
	rx      chan<- byte
	rxLen   int    // bytes in rx; at most depth
	waiting []byte // of the Input write under way, not yet in rx
	taken   sync.Cond
	thri    bool // the transmitter's interrupt is pending
	level   bool // of the line
	closed  bool
}

var _ bus.Device = (*UART)(nil)

// New makes a port in its state after reset and starts its output.
func New(cfg Config) (*UART, error) {
	if cfg.SetLine == nil || cfg.Buffer < 0 {
		return nil, fmt.Errorf("make serial port: no interrupt line, or a buffer of %d bytes", cfg.Buffer)
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = DefaultBuffer
	}
	u := &UART{setLine: cfg.SetLine, trigger: triggers[0], divisor: [2]byte{12, 0}} // 9600 baud
	u.taken.L = &u.mu
	regs, err := gokvm.New(injector{u})
	if err != nil {
		return nil, fmt.Errorf("make serial port: %w", err)
	}
	u.regs, u.rx = regs, regs.GetInputChan()
	u.out = startOutput(cfg.Output, max(cfg.Buffer, fifoDepth), u.transmitted)
	return u, nil
}

// Close writes out what the guest has sent and ends the port; Input's writers
// get an error. It waits for an Output that blocks: whoever owns that must
// unblock it. The guest may go on to call. It returns Output's first error.
func (u *UART) Close() error {
	u.mu.Lock()
	u.closed = true
	u.taken.Broadcast()
	u.mu.Unlock()
	return u.out.close()
}

// Dropped is the number of bytes that the guest sent without minding that
// there was no room, or after Output failed.
func (u *UART) Dropped() uint64 { return u.out.dropped.Load() }

// Read is a guest's read of len(p) ports from off on, below Ports.
func (u *UART) Read(off uint64, p []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range p {
		p[i] = u.read(off + uint64(i))
	}
}

// Write is a guest's write of len(p) ports from off on.
func (u *UART) Write(off uint64, p []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, v := range p {
		u.write(off+uint64(i), v)
	}
}

func (u *UART) dlab() bool { return u.regs.LCR&lcrDLAB != 0 }

func (u *UART) read(reg uint64) byte {
	switch {
	case reg <= regIER && u.dlab():
		return u.divisor[reg]
	case reg == regData:
		return u.receive()
	case reg == regIER:
		return u.gokvmIn(reg)
	case reg == regIIR:
		return u.identify()
	case reg == regLCR:
		return u.regs.LCR
	case reg == regMCR:
		return u.mcr
	case reg == regLSR:
		return u.lineStatus()
	case reg == regMSR:
		return u.modemStatus()
	case reg == regScratch:
		return u.scratch
	}
	return 0xff
}

func (u *UART) write(reg uint64, v byte) {
	switch {
	case reg <= regIER && u.dlab():
		u.divisor[reg] = v
	case reg == regData:
		u.transmit(v)
	case reg == regIER:
		u.enableInterrupts(v & ierAll)
	case reg == regIIR:
		u.controlFIFO(v)
	case reg == regLCR:
		u.gokvmOut(reg, v)
	case reg == regMCR:
		u.controlModem(v & mcrAll)
	case reg == regScratch:
		u.scratch = v
	}
	// LSR and MSR are read only: writing them is for factory tests.
}

// gokvmIn and gokvmOut are accesses to gokvm's registers. Its functions
// return errors of its injector only, and ours has none.
func (u *UART) gokvmIn(reg uint64) byte {
	var p [1]byte
	u.regs.In(gokvmBase+reg, p[:])
	return p[0]
}

func (u *UART) gokvmOut(reg uint64, v byte) { u.regs.Out(gokvmBase+reg, []byte{v}) }
