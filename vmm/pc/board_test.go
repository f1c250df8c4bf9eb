package pc

import (
	"slices"
	"testing"
	"time"

	"splitvm/vmm/bus"
)

func TestCMOSTellsHostTime(t *testing.T) {
	at := time.Date(2031, 12, 9, 23, 58, 7, 0, time.UTC) // a Tuesday
	c := newCMOS(func() time.Time { return at })
	want := map[byte]byte{cmosSeconds: 0x07, cmosMinutes: 0x58, cmosHours: 0x23, cmosWeekday: 3, cmosDay: 0x09, cmosMonth: 0x12, cmosYear: 0x31, cmosCentury: 0x20}
	for reg, bcd := range want {
		if got := cmosRead(c, reg); got != bcd {
			t.Errorf("register %#x = %#x, want %#x", reg, got, bcd)
		}
	}
	cmosWrite(c, cmosStatusB, statusBBinary|statusB24Hours)
	if got := cmosRead(c, cmosMinutes); got != 58 {
		t.Errorf("binary minutes = %d, want 58", got)
	}
	cmosWrite(c, cmosSeconds, 0x33)
	if got := cmosRead(c, cmosSeconds); got != 7 {
		t.Errorf("a guest changed the host's clock to %d", got)
	}
	cmosWrite(c, 0x7f, 0xab)
	if got := cmosRead(c, 0x7f); got != 0xab {
		t.Errorf("scratch register = %#x, want 0xab", got)
	}
}

func cmosRead(c *cmos, reg byte) byte {
	c.Write(0, []byte{reg})
	p := []byte{0}
	c.Read(1, p)
	return p[0]
}

func cmosWrite(c *cmos, reg, v byte) {
	c.Write(0, []byte{reg})
	c.Write(1, []byte{v})
}

func TestPowerOffOnlyByS5(t *testing.T) {
	offs := 0
	c := pmControl{powerOff: func() { offs++ }}
	for _, v := range [][]byte{{0, 0x20}, {1, 0x14}, {0, 0x14}, {0}, {0x34}} {
		c.Write(0, v)
	}
	if offs != 0 {
		t.Fatalf("powered off %d times by other writes", offs)
	}
	c.Write(0, []byte{0, 0x34}) // SLP_EN, type 5
	if offs != 1 {
		t.Fatalf("S5 powered off %d times", offs)
	}
}

func TestPowerButtonRaisesSCIUntilCleared(t *testing.T) {
	var levels []bool
	e := &pmEvents{setSCI: func(high bool) { levels = append(levels, high) }}
	e.press()
	if len(levels) != 0 {
		t.Fatal("a button that the guest has not enabled raised the interrupt")
	}
	e.Write(2, []byte{0, 1}) // enable
	p := make([]byte, 2)
	e.Read(0, p)
	if p[1] != 1 || !slices.Equal(levels, []bool{true}) {
		t.Fatalf("status %#x, levels %v after the button was enabled", p, levels)
	}
	e.Write(0, []byte{0xff, 0}) // clears other bits only
	e.Write(0, []byte{0, 1})
	e.Read(0, p)
	if p[1] != 0 || !slices.Equal(levels, []bool{true, false}) {
		t.Fatalf("status %#x, levels %v after the guest cleared it", p, levels)
	}
}

func TestPMTimerRuns(t *testing.T) {
	timer := &pmTimer{start: time.Now().Add(-time.Second)}
	p := make([]byte, 4)
	timer.Read(0, p)
	got := uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16 | uint32(p[3])<<24
	if got < pmTimerHz || got > 10*pmTimerHz {
		t.Errorf("after a second the timer is at %d, want a little over %d", got, pmTimerHz)
	}
}

func TestResets(t *testing.T) {
	resets := 0
	count := func() { resets++ }
	for _, c := range []struct {
		dev  bus.Device
		p    []byte
		want int
	}{
		{resetRegister{count}, []byte{0x02}, 0}, {resetRegister{count}, []byte{0x06}, 1},
		{keyboard{count}, []byte{0xd1}, 0}, {keyboard{count}, []byte{0xfe}, 1},
	} {
		resets = 0
		c.dev.Write(0, c.p)
		if resets != c.want {
			t.Errorf("%T: write of %#x reset %d times, want %d", c.dev, c.p, resets, c.want)
		}
	}
}

// Any access of any width anywhere in a device is harmless.
func TestHostileAccess(t *testing.T) {
	devices := map[bus.Device]uint64{
		newCMOS(time.Now): 2, &pmEvents{setSCI: func(bool) {}}: 4, &pmControl{func() {}}: 2, &pmTimer{}: 4, ignored{}: 8,
	}
	for dev, size := range devices {
		for off := range size {
			for _, n := range []int{1, 2, 4, 8} {
				for v := range 256 {
					p := []byte{byte(v), byte(v), byte(v), byte(v), byte(v), byte(v), byte(v), byte(v)}[:n]
					dev.Write(off, p)
					dev.Read(off, p)
				}
			}
		}
	}
}
