package serial

import gokvm "github.com/bobuhiro11/gokvm/serial"

// Ports is the number of I/O ports.
const Ports = 8

// gokvmBase is what gokvm takes for the port of register 0.
const gokvmBase = gokvm.COM1Addr

// Registers by offset (TI PC16550D, table 4). The first two are the divisor's
// while LCR's DLAB is set.
const (
	regData    = 0 // RBR, THR; DLL
	regIER     = 1 // IER; DLM
	regIIR     = 2 // IIR; FCR when written
	regLCR     = 3
	regMCR     = 4
	regLSR     = 5
	regMSR     = 6
	regScratch = 7
)

const (
	ierRDI  = 1 << 0 // received data
	ierTHRI = 1 << 1 // transmitter holding register empty
	ierRLSI = 1 << 2 // receiver line status
	ierMSI  = 1 << 3 // modem status
	ierAll  = ierRDI | ierTHRI | ierRLSI | ierMSI

	// Interrupt identification, by falling priority after none.
	iirNone    = 0x01
	iirRLSI    = 0x06
	iirRDI     = 0x04
	iirTimeout = 0x0c // something below the trigger level
	iirTHRI    = 0x02
	iirMSI     = 0x00
	iirFIFO    = 0xc0 // FIFOs are on

	fcrEnable  = 1 << 0
	fcrClearRx = 1 << 1
	fcrTrigger = 6 // shift

	lcrDLAB = 1 << 7

	mcrDTR  = 1 << 0
	mcrRTS  = 1 << 1
	mcrOUT1 = 1 << 2
	mcrOUT2 = 1 << 3
	mcrLoop = 1 << 4
	mcrAll  = mcrDTR | mcrRTS | mcrOUT1 | mcrOUT2 | mcrLoop

	lsrDR   = 1 << 0
	lsrOE   = 1 << 1 // overrun
	lsrTHRE = 1 << 5
	lsrTEMT = 1 << 6

	msrTERI = 1 << 2 // RI fell; the other changes are the levels' bits >> 4
	msrCTS  = 1 << 4
	msrDSR  = 1 << 5
	msrRI   = 1 << 6
	msrDCD  = 1 << 7

	// peerUp is what a terminal that is there and ready shows.
	peerUp = msrCTS | msrDSR | msrDCD
)

// fifoDepth is the 16550's, in bytes; without FIFOs there is one register.
const fifoDepth = 16

// triggers are the receive FIFO's levels by FCR bits 6 and 7.
var triggers = [4]int{1, 4, 8, 14}
