package excache

import "fmt"

// outcome is a compiled step.
type outcome struct {
	next  Entry
	legal bool
	do    Effects
}

// compiled is steps by event and entry, so that a step is one look-up.
var compiled = compile()

func compile() *[numEvents][256]outcome {
	var c [numEvents][256]outcome
	for ev := range c {
		for e := range c[ev] {
			c[ev][e] = match(steps[ev], Entry(e))
		}
	}
	return &c
}

func match(rules []rule, e Entry) outcome {
	if !e.Valid() {
		return outcome{}
	}
	for _, r := range rules {
		if r.from != e.State() || !e.Has(r.with) {
			continue
		}
		return outcome{next: MakeEntry(r.to, (e.Flags()|r.set)&^r.clear), legal: true, do: r.do}
	}
	return outcome{}
}

// allowed is which flags a state may have.
var allowed = [numStates]Flags{
	Zero: 0, Remote: 0, Held: 0,
	Fetching: sleepers, Discarding: sleepers,
	Mapping: Blank | sleepers, Opening: Blank | sleepers | Flight,
	Clean: Blank, Dirty: Blank | Flight,
	Protecting: Blank | sleepers, WritingBack: Blank,
	Dropping: Blank | sleepers, Poisoned: Blank | sleepers | Flight,
}

// Valid tells whether the entry can be in a table that isn't damaged.
func (e Entry) Valid() bool {
	return e.State() < numStates && e.Flags()&^allowed[e.State()] == 0
}

// IllegalError is a step that is not in the table.
type IllegalError struct {
	Entry Entry
	Event Event
}

// Error says which step.
func (err *IllegalError) Error() string {
	if !err.Entry.Valid() {
		return fmt.Sprintf("line table damaged: entry %#02x", uint8(err.Entry))
	}
	return fmt.Sprintf("no step for %v in state %v", err.Event, err.Entry)
}

// Step returns the entry that follows e on ev, and what to do once it is
// stored. The error is an *IllegalError; the line must be left as it is.
func Step(e Entry, ev Event) (Entry, Effects, error) {
	if ev >= numEvents {
		return e, 0, &IllegalError{e, ev}
	}
	o := &compiled[ev][e]
	if !o.legal {
		return e, 0, &IllegalError{e, ev}
	}
	return o.next, o.do, nil
}
