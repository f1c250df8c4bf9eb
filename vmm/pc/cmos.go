package pc

import (
	"sync"
	"time"
)

// CMOS registers (Motorola MC146818A data sheet).
const (
	cmosSeconds = 0x00
	cmosMinutes = 0x02
	cmosHours   = 0x04
	cmosWeekday = 0x06
	cmosDay     = 0x07
	cmosMonth   = 0x08
	cmosYear    = 0x09
	cmosStatusA = 0x0a
	cmosStatusB = 0x0b
	cmosStatusC = 0x0c
	cmosStatusD = 0x0d
	cmosCentury = 0x32
	cmosSize    = 128
)

const (
	statusA24      = 0x26 // 32 kHz time base; no update in progress
	statusBBinary  = 0x04
	statusB24Hours = 0x02
	statusDValid   = 0x80
	nmiDisable     = 0x80 // bit 7 of the index port
)

// cmos is the real-time clock: host time in UTC and scratch RAM. Without one
// a Linux guest spends seconds probing for it. Its alarm and periodic
// interrupts are not there; guests have better timers.
type cmos struct {
	now func() time.Time

	mu    sync.Mutex
	index byte
	ram   [cmosSize]byte
}

func newCMOS(now func() time.Time) *cmos {
	c := &cmos{now: now}
	c.ram[cmosStatusA] = statusA24
	c.ram[cmosStatusB] = statusB24Hours
	c.ram[cmosStatusD] = statusDValid
	return c
}

func (c *cmos) Read(off uint64, p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if off == 0 {
		p[0] = 0xff // the index port is write-only
		return
	}
	p[0] = c.register(c.index)
}

func (c *cmos) Write(off uint64, p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if off == 0 {
		c.index = p[0] &^ nmiDisable
		if len(p) == 1 {
			return
		}
		p = p[1:]
	}
	if c.index >= cmosStatusB { // the clock itself is the host's
		c.ram[c.index] = p[0]
	}
}

func (c *cmos) register(i byte) byte {
	t := c.now().UTC()
	switch i {
	case cmosSeconds:
		return c.number(t.Second())
	case cmosMinutes:
		return c.number(t.Minute())
	case cmosHours:
		return c.number(t.Hour())
	case cmosWeekday:
		return c.number(int(t.Weekday()) + 1)
	case cmosDay:
		return c.number(t.Day())
	case cmosMonth:
		return c.number(int(t.Month()))
	case cmosYear:
		return c.number(t.Year() % 100)
	case cmosCentury:
		return c.number(t.Year() / 100)
	case cmosStatusC:
		return 0
	case cmosStatusD:
		return statusDValid
	}
	return c.ram[i]
}

// number is n in the format that the guest chose in status B.
func (c *cmos) number(n int) byte {
	if c.ram[cmosStatusB]&statusBBinary != 0 {
		return byte(n)
	}
	return byte(n/10<<4 | n%10)
}
