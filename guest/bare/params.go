package bare

import "splitvm/guest/layout"

// Ports of a bare guest.
const (
	PortMark = 0xf0
	PortExit = 0xf4
	PortPOST = 0x80 // a PC ignores what is written to it
)

// What greet, off and roam do, on a PC's ports.
const (
	PortCOM1        = layout.PortCOM1
	PortPM1aControl = layout.PortPM1aControl
	Hello           = '!' // the byte that they write to COM1; roam does after each pass
	Lost            = '?' // the byte that roam writes when a line is not what it wrote

	// RoamSize is the memory that roam goes through, from Memory on.
	RoamSize = 32 << 20
	roamEnd  = Memory + RoamSize

	powerOff = 1<<13 | layout.SleepTypeS5<<10 // SLP_EN and SLP_TYP (ACPI 6.5, 4.8.3.2.1)
)

// Exit statuses of the programs.
const (
	StatusDone  = 0
	StatusWrong = 1 // verify found a word that is not what was written: see Result.Wrong
)

// LineSize is the unit of remote memory, a page.
const LineSize = 4096

// The fixed places of a bare guest.
const (
	CodeAt      = 0x10_0000 // the program, MaxCode bytes at most
	MaxCode     = 0x1_0000
	BlocksAt    = 0x11_0000 // one Block each BlockStride, MaxVCPUs of them
	BlockStride = 0x1000
	HistogramAt = 0x15_0000 // one Histogram each HistogramStride
	// HistogramStride is the room for one Histogram.
	HistogramStride = 0x2000
	TablesAt        = 0x1d_0000 // what the host computes for a program, MaxTables bytes
	MaxTables       = 0x3_0000
	Memory          = 0x20_0000 // working memory from here on

	MaxVCPUs = 64
)

// Block is what the host hands to one vCPU and what it hands back.
type Block struct {
	Params Params
	Result Result
}

// Params drives a program on one vCPU. A program uses what it needs of it and
// trusts it: wrong addresses end the guest. Addresses are guest-physical, sizes
// in bytes. A unit is Stride bytes: a line, or less for streams.
type Params struct {
	Start  uint64 // first unit
	Count  uint64 // number of units, at least 1
	Stride uint64 // bytes from one unit to the next
	Span   uint64 // mask on the random offset inside a unit, multiple of 8: 0xff8 for a word of a line; 0: first word

	// Advance makes each pass of touch begin so many bytes after the one
	// before, and at Start again after Stride.
	Advance uint64

	Warm     uint64 // accesses (touch: passes) before the measured ones
	Accesses uint64 // measured accesses (touch: passes)

	// WriteBelow makes an access a write when 32 random bits are below it:
	// 0 only reads, 1<<32 only writes. Writes sets it from a share.
	WriteBelow uint64
	Seed       uint64 // not 0

	// Sample times every Sample-th access into Histogram; 0 times none.
	Sample    uint64
	Histogram uint64 // address of this vCPU's Histogram, zeroed

	Table      uint64 // zipf: the classes; verify: a sequence number (uint32) for each unit; history: the log; rubbish: the ops
	TableCount uint64 // entries of Table
	Scatter    uint64 // zipf: rank r is unit r*Scatter mod Count, prime to Count; chain, leap: multiplier, 5 mod 8

	Pattern uint64 // fill, verify: tells this guest's words from another's

	// Words is how many words of a line fill and verify write and check,
	// WordStride bytes apart.
	Words      uint64
	WordStride uint64

	// kick: Start is the address of the available index of a ring whose entries
	// are all the same request, Used that of the used index.
	Used, Doorbell uint64

	Flags uint64
	// Status is what the program exit exits with.
	Status uint64
	Index  uint64 // of the vCPU
}

// Flags of Params.
const (
	FlagRandom   = 1 << 0 // verify: lines in random order, else one after the other
	FlagFillHalf = 1 << 1 // fill: every other run of 64 bytes stays zero, so that a line compresses by half
	FlagSpin     = 1 << 2 // kick: only spin
	FlagExits    = 1 << 3 // kick: only write to PortPOST
)

// Result is what one vCPU reports. Cycles are the guest's time-stamp counter.
type Result struct {
	Accesses uint64 // measured
	Writes   uint64 // of Accesses
	Begin    uint64 // cycles when the measured accesses began
	End      uint64 // and when they ended
	Sum      uint64 // of the words read: keeps the reads honest; rubbish: address of the op under way
	Marks    uint64 // marks that the vCPU passed
	At       uint64 // touch: where the next pass begins

	Wrong Wrong
}

// Wrong is the first word that was not what had been written.
type Wrong struct {
	Address  uint64 // of the word
	Found    uint64
	Expected uint64
	Sequence uint64 // number of times that the line was written
}

// Writes is Params.WriteBelow for a share between 0 and 1.
func Writes(share float64) uint64 {
	return uint64(min(max(share, 0), 1) * (1 << 32))
}

// BlockAt is the address of a vCPU's Block.
func BlockAt(vcpu int) uint64 { return BlocksAt + uint64(vcpu)*BlockStride }

// HistogramFor is the address of a vCPU's Histogram.
func HistogramFor(vcpu int) uint64 { return HistogramAt + uint64(vcpu)*HistogramStride }
