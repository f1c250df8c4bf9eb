package bare

import "splitvm/guest/layout"

// What echo does with what is typed, but for three keys: it sends each byte
// back with the bit EchoFlip changed, so that no terminal's own echo looks like
// it. EchoSize goes before the window size, columns and rows as little-endian
// 16 bits, whenever that changes.
const (
	EchoOff   = 'q' // powers off
	EchoReset = 'z' // resets the machine
	EchoCrash = 'k' // ends in a triple fault
	EchoFlip  = 0x20
	EchoSize  = 'W'
)

// Where echo finds the console, and where it has its queues: descriptors,
// driver area, device area and buffer of the receiving one, then of the other.
const (
	portReset  = layout.PortReset
	resetValue = layout.ResetValue

	echoECAM  = layout.ECAMStart
	echoSlots = 32
	echoSlot  = 1 << 15    // of configuration space
	echoID    = 0x10431af4 // device and vendor

	echoDriver = 0x1000
	echoDevice = 0x2000
	echoBuffer = 0x3000
	echoMax    = 0x1000 // bytes in a buffer
	echoQueue  = 0x4000
)
