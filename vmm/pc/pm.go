package pc

import (
	"encoding/binary"
	"sync"
	"time"
)

// pmTimerHz is the ACPI power-management timer's rate (ACPI 6.5, 4.8.3.3).
const pmTimerHz = 3579545

// SLP_TYP values of PM1_CNT, as the DSDT's \_S5 package has them, and the
// register's bits (ACPI 6.5, 4.8.3.2.1).
const (
	sleepS5        = 5
	controlSCI     = 1 << 0
	controlSleep   = 1 << 13
	controlTypeLow = 10
)

// pmEvents is the PM1a event block: status, then enable. Nothing here raises
// an event, so the registers only hold what the guest writes.
type pmEvents struct {
	mu     sync.Mutex
	enable uint16
}

func (e *pmEvents) Read(off uint64, p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var regs [4]byte
	binary.LittleEndian.PutUint16(regs[2:], e.enable)
	copy(p, regs[min(off, 4):])
}

func (e *pmEvents) Write(off uint64, p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var regs [4]byte
	binary.LittleEndian.PutUint16(regs[2:], e.enable)
	copy(regs[min(off, 4):], p)
	e.enable = binary.LittleEndian.Uint16(regs[2:])
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
	if v&controlSleep != 0 && v>>controlTypeLow&7 == sleepS5 {
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
