package pc

import (
	"encoding/binary"
	"sync"
	"time"

	"splitvm/guest/layout"
)

// pmTimerHz is the ACPI power-management timer's rate (ACPI 6.5, 4.8.3.3).
const pmTimerHz = 3579545

// Bits of PM1_CNT (ACPI 6.5, 4.8.3.2.1).
const (
	controlSCI     = 1 << 0
	controlSleep   = 1 << 13
	controlTypeLow = 10
)

// powerButton is the fixed power button's bit in the event registers.
const powerButton = 1 << 8

// pmEvents is the PM1a event block: two bytes of status, which a guest clears
// by writing ones, then two of enable. Its interrupt (SCI) is high while an
// enabled status bit is set.
type pmEvents struct {
	setSCI func(high bool)

	mu             sync.Mutex
	status, enable uint16
	high           bool // what setSCI was told last
}

func (e *pmEvents) Read(off uint64, p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	regs := e.registers()
	copy(p, regs[min(off, 4):])
}

func (e *pmEvents) Write(off uint64, p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	regs := e.registers()
	binary.LittleEndian.PutUint16(regs[:], 0)
	copy(regs[min(off, 4):], p)
	e.status &^= binary.LittleEndian.Uint16(regs[:])
	e.enable = binary.LittleEndian.Uint16(regs[2:])
	e.update()
}

// press presses the power button.
func (e *pmEvents) press() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status |= powerButton
	e.update()
}

func (e *pmEvents) registers() (regs [4]byte) {
	binary.LittleEndian.PutUint16(regs[:], e.status)
	binary.LittleEndian.PutUint16(regs[2:], e.enable)
	return regs
}

func (e *pmEvents) update() {
	if high := e.status&e.enable != 0; high != e.high {
		e.high = high
		e.setSCI(high)
	}
}

// pmControl is PM1a_CNT. Writing SLP_EN with the type of S5 powers off.
type pmControl struct {
	powerOff func()
}

func (c *pmControl) Read(off uint64, p []byte) {
	if off == 0 {
		p[0] = controlSCI
	}
}

func (c *pmControl) Write(off uint64, p []byte) {
	var reg [4]byte
	copy(reg[min(off, 2):], p)
	v := binary.LittleEndian.Uint16(reg[:])
	if v&controlSleep != 0 && v>>controlTypeLow&7 == layout.SleepTypeS5 {
		c.powerOff()
	}
}

// pmTimer is the free-running 32-bit counter.
type pmTimer struct {
	start time.Time
}

func (t *pmTimer) Read(_ uint64, p []byte) {
	ns := uint64(time.Since(t.start))
	ticks := ns/1e9*pmTimerHz + ns%1e9*pmTimerHz/1e9
	var reg [8]byte
	binary.LittleEndian.PutUint32(reg[:], uint32(ticks))
	copy(p, reg[:])
}

func (*pmTimer) Write(uint64, []byte) {}
