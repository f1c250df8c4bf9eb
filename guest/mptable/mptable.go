package mptable

import (
	"encoding/binary"
	"fmt"

	"github.com/bobuhiro11/gokvm/ebda"

	"splitvm/guest/layout"
)

// MaxCPUs is how many the table is made for, as gokvm's is.
const MaxCPUs = 64

// Sizes of the structures (MP 1.4, chapter 4), and where gokvm has them.
const (
	pointerSize   = 16
	headerSize    = 44
	processorSize = 20

	gokvmPointer    = 3 * 16 // padding before it
	gokvmHeader     = gokvmPointer + pointerSize
	gokvmProcessors = gokvmHeader + headerSize
)

// Offsets in the floating pointer and in the header.
const (
	pointerAddress  = 4
	pointerChecksum = 10
	headerLength    = 4
	headerChecksum  = 7
	headerOEM       = 8
	headerCount     = 34
)

// Entry types and interrupt kinds (tables 4-3 and 4-11).
const (
	entryBus            = 1
	entryIOAPIC         = 2
	entryInterrupt      = 3
	entryLocalInterrupt = 4

	interruptVectored = 0
	interruptNMI      = 1
	interruptExternal = 3

	isaBus        = 0
	isaInterrupts = 16
	ioapicID      = 0 // KVM's after reset
	ioapicVersion = 0x11
	allLocalAPICs = 0xFF

	timerIRQ   = 0 // of the PIT, wired to
	timerPin   = 2
	cascadeIRQ = 2 // from one 8259 to the other: no line of its own

	family6 = 0x600
)

// Table builds the floating pointer and the table behind it, to be placed at
// layout.MPTable, where a kernel searches: at most layout.MPTableMax bytes. The
// processors' APIC ids are 0 to cpus-1.
func Table(cpus int) ([]byte, error) {
	if cpus < 1 || cpus > MaxCPUs {
		return nil, fmt.Errorf("MP table for %d CPUs: give 1 to %d", cpus, MaxCPUs)
	}
	e, err := ebda.New(cpus)
	if err != nil {
		return nil, fmt.Errorf("MP table for %d CPUs: %w", cpus, err)
	}
	g, err := e.Bytes()
	if err != nil {
		return nil, fmt.Errorf("MP table for %d CPUs: %w", cpus, err)
	}
	if len(g) < gokvmProcessors+cpus*processorSize {
		return nil, fmt.Errorf("MP table for %d CPUs: gokvm made %d bytes", cpus, len(g))
	}
	pointer := g[gokvmPointer:][:pointerSize]
	binary.LittleEndian.PutUint32(pointer[pointerAddress:], uint32(layout.MPTable)+pointerSize)
	seal(pointer, pointerChecksum)
	return append(pointer[:pointerSize:pointerSize], table(g, cpus)...), nil
}

// table is the header and the entries.
func table(g []byte, cpus int) []byte {
	b := append([]byte{}, g[gokvmHeader:][:headerSize]...)
	for i := range cpus {
		p := g[gokvmProcessors+i*processorSize:][:processorSize]
		binary.LittleEndian.PutUint32(p[4:], family6)
		b = append(b, p...)
	}
	b = append(b, entryBus, isaBus)
	b = append(b, "ISA   "...)
	b = append(b, entryIOAPIC, ioapicID, ioapicVersion, 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(layout.IOAPICAddr))
	count := cpus + 2
	for irq := range byte(isaInterrupts) {
		pin := irq
		switch irq {
		case timerIRQ:
			pin = timerPin
		case cascadeIRQ:
			continue
		}
		b = append(b, entryInterrupt, interruptVectored, 0, 0, isaBus, irq, ioapicID, pin)
		count++
	}
	b = append(b, entryLocalInterrupt, interruptExternal, 0, 0, isaBus, 0, 0, 0) // 8259s at LINT0 of CPU 0
	b = append(b, entryLocalInterrupt, interruptNMI, 0, 0, isaBus, 0, allLocalAPICs, 1)
	count += 2
	copy(b[headerOEM:], "SPLITVM splitvm     ") // OEM and product id
	binary.LittleEndian.PutUint16(b[headerCount:], uint16(count))
	binary.LittleEndian.PutUint16(b[headerLength:], uint16(len(b)))
	seal(b, headerChecksum)
	return b
}

// seal sets the checksum at off, so that all bytes add up to 0.
func seal(b []byte, off int) {
	b[off] = 0
	var sum byte
	for _, c := range b {
		sum += c
	}
	b[off] = -sum
}
