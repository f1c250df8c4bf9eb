package acpi

import (
	"encoding/binary"

	"splitvm/guest/layout"
)

// The FADT (ACPI 6.5, 5.2.9): 276 bytes, offsets from the table's start.
const (
	fadtSize     = 276
	fadtRevision = 6
	fadtMinor    = 5

	fadtFACS         = 36
	fadtDSDT         = 40
	fadtSCI          = 46
	fadtPM1aEvent    = 56
	fadtPM1aControl  = 64
	fadtPMTimer      = 76
	fadtPM1EventLen  = 88
	fadtPM1CtrlLen   = 89
	fadtPMTimerLen   = 91
	fadtC2Latency    = 96
	fadtC3Latency    = 98
	fadtCentury      = 108
	fadtBootArch     = 109
	fadtFlags        = 112
	fadtResetReg     = 116
	fadtResetValue   = 128
	fadtMinorVersion = 131
	fadtXDSDT        = 140
	fadtXPM1aEvent   = 148
	fadtXPM1aControl = 172
	fadtXPMTimer     = 208
	fadtHypervisor   = 268

	pm1EventLen = 4
	pm1CtrlLen  = 2
	pmTimerLen  = 4

	// Latencies above these say that C2 and C3 are not there.
	noC2 = 101
	noC3 = 1001

	cmosCentury = 0x32

	archLegacyDevices = 1 << 0 // the serial port
	archNoVGA         = 1 << 2
	// i8042 (bit 1) is not set: there is none. Nor is bit 5, "no CMOS clock".

	flagWBINVD      = 1 << 0
	flagC1          = 1 << 2
	flagPowerButton = 1 << 4 // set: no fixed power button
	flagSleepButton = 1 << 5 // set: no fixed sleep button
	flagFixRTC      = 1 << 6 // set: RTC wake status is not in the fixed registers
	flagTimer32     = 1 << 8
	flagResetReg    = 1 << 10
	flagHeadless    = 1 << 12
)

// fadt describes the fixed hardware.
func fadt(facs, dsdt layout.GPA, powerButton bool) []byte {
	b := make([]byte, fadtSize-headerSize)
	le := binary.LittleEndian
	put8 := func(off int, v byte) { b[off-headerSize] = v }
	put16 := func(off int, v uint16) { le.PutUint16(b[off-headerSize:], v) }
	put32 := func(off int, v uint32) { le.PutUint32(b[off-headerSize:], v) }
	put64 := func(off int, v uint64) { le.PutUint64(b[off-headerSize:], v) }
	register := func(off int, port uint64, bytes byte) { copy(b[off-headerSize:], ioRegister(port, bytes)) }

	put32(fadtFACS, uint32(facs))
	put32(fadtDSDT, uint32(dsdt))
	put64(fadtXDSDT, uint64(dsdt))
	put16(fadtSCI, layout.IRQSCI)
	put32(fadtPM1aEvent, layout.PortPM1aEvent)
	put32(fadtPM1aControl, layout.PortPM1aControl)
	put32(fadtPMTimer, layout.PortPMTimer)
	put8(fadtPM1EventLen, pm1EventLen)
	put8(fadtPM1CtrlLen, pm1CtrlLen)
	put8(fadtPMTimerLen, pmTimerLen)
	register(fadtXPM1aEvent, layout.PortPM1aEvent, pm1EventLen)
	register(fadtXPM1aControl, layout.PortPM1aControl, pm1CtrlLen)
	register(fadtXPMTimer, layout.PortPMTimer, pmTimerLen)
	put16(fadtC2Latency, noC2)
	put16(fadtC3Latency, noC3)
	put8(fadtCentury, cmosCentury)
	put16(fadtBootArch, archLegacyDevices|archNoVGA)
	put32(fadtFlags, fadtFlagBits(powerButton))
	register(fadtResetReg, layout.PortReset, 1)
	put8(fadtResetValue, layout.ResetValue)
	put8(fadtMinorVersion, fadtMinor)
	copy(b[fadtHypervisor-headerSize:], oemTableID)
	return table("FACP", fadtRevision, b)
}

func fadtFlagBits(powerButton bool) uint32 {
	flags := uint32(flagWBINVD | flagC1 | flagSleepButton | flagFixRTC | flagTimer32 | flagResetReg | flagHeadless)
	if !powerButton {
		flags |= flagPowerButton
	}
	return flags
}

// ioRegister is a generic address structure (5.2.3.2) for a port of so many
// bytes. Access size: 1 to 3 for bytes, words and double words. The event block
// is two registers of a word each.
func ioRegister(port uint64, bytes byte) []byte {
	const systemIO = 1
	access := byte(1)
	switch {
	case port == layout.PortPM1aEvent:
		access = 2
	case bytes > 1:
		access = bytes/2 + 1
	}
	return binary.LittleEndian.AppendUint64([]byte{systemIO, bytes * 8, 0, access}, port)
}

// facs is the firmware control structure (5.2.10), which only sleeping and the
// global lock would use. It has no checksum.
func facs() []byte {
	const size, version = 64, 2
	b := make([]byte, size)
	copy(b, "FACS")
	b[4], b[32] = size, version
	return b
}
