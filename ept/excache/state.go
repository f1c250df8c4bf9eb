package excache

import "strings"

// LineShift is the binary logarithm of a line's size in bytes.
const LineShift = 12

// LineSize is the size of a line in bytes.
const LineSize = 1 << LineShift

// Line is the index of a line in a vNode's guest-physical space: the address
// divided by LineSize.
type Line uint64

// State says where the truth of a line is and what is being done to it. The
// values are stored in line tables: append only.
type State uint8

// The states; the package comment defines them. Zero is 0 because a hole in the
// table's file reads as such.
const (
	Zero State = iota
	Remote
	Fetching
	Held
	Mapping
	Opening
	Clean
	Dirty
	Protecting
	WritingBack
	Dropping
	Discarding
	Poisoned
	numStates
)

var stateNames = [numStates]string{
	"Zero", "Remote", "Fetching", "Held", "Mapping", "Opening", "Clean", "Dirty",
	"Protecting", "WritingBack", "Dropping", "Discarding", "Poisoned",
}

// String names the state.
func (s State) String() string {
	if s < numStates {
		return stateNames[s]
	}
	return "invalid"
}

// Flags qualify a state. Only Blank has a meaning to a successor.
type Flags uint8

// The flags, in the upper four bits of an Entry.
const (
	Blank  Flags = 0x10 // there is no backing; it counts as zeroes
	Wait   Flags = 0x20 // a vCPU sleeps for the line, its event is consumed
	Write  Flags = 0x40 // and wants to write; or the line is to be installed writable
	Flight Flags = 0x80 // an older write-back is unanswered
)

var flagNames = []struct {
	flag Flags
	name string
}{{Blank, "Blank"}, {Wait, "Wait"}, {Write, "Write"}, {Flight, "Flight"}}

// String lists the flags, each after a plus sign.
func (f Flags) String() string {
	var b strings.Builder
	for _, n := range flagNames {
		if f&n.flag != 0 {
			b.WriteString("+" + n.name)
		}
	}
	return b.String()
}

// Entry is a line's byte in the table: the state in the lower four bits, the
// flags in the upper four.
type Entry uint8

// MakeEntry puts a state and flags together.
func MakeEntry(s State, f Flags) Entry { return Entry(s) | Entry(f) }

// State returns the entry's state, which is invalid if the entry is.
func (e Entry) State() State { return State(e & 0x0f) }

// Flags returns the entry's flags.
func (e Entry) Flags() Flags { return Flags(e & 0xf0) }

// Has tells whether all of f are set.
func (e Entry) Has(f Flags) bool { return e.Flags()&f == f }

// Resident tells whether the line takes a page of the memfd, or is about to.
func (e Entry) Resident() bool {
	switch e.State() {
	case Mapping, Opening, Clean, Dirty, Protecting, WritingBack, Dropping:
		return true
	}
	return false
}

// Newest tells whether the page has, or may have, what no replica has.
func (e Entry) Newest() bool {
	switch e.State() {
	case Opening, Dirty, Protecting, WritingBack:
		return true
	}
	return false
}

// String gives state and flags.
func (e Entry) String() string { return e.State().String() + e.Flags().String() }
