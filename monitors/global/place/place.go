// Package place decides which monitors take new work: a vNode, a vRegion's
// replicas, a volume's replicas. It is pure: members, promises and requests go
// in, a decision with its reason comes out.
//
// What it isn't: it stores nothing, knows no network and no clock, and does not
// know what the amounts mean (bytes, vCPUs): its user says so.
//
// # Invariants
//
//   - What is promised at a member never exceeds its limit, capacity times
//     over-commit, by a decision of this package; Promise, which records what was
//     decided earlier, may.
//   - The members of one decision differ, and so do their failure domains, unless
//     there are too few domains: then the decision says so.
//
// A Pool is not safe for concurrent use.
package place

import (
	"errors"
	"slices"
)

// ID names a member.
type ID uint64

// Dims is how many resources a member may have.
const Dims = 2

// Amount is an amount of each resource. A resource of which a member has none
// at all is not asked for there.
type Amount [Dims]uint64

// Factor is a factor for each resource.
type Factor [Dims]float64

// Member is a monitor that may take work.
type Member struct {
	ID       ID
	Name     string
	Domain   string // what fails together; empty: this member alone
	Capacity Amount
	Closed   bool // takes nothing new
}

// Request is work to be placed on Replicas members, each of which must have room
// for all of Need.
type Request struct {
	Need     Amount
	Replicas int
	Only     map[ID]bool // nil: all members
	Not      []ID        // members that are not to be chosen
}

func (r *Request) excludes(id ID) bool {
	return r.Only != nil && !r.Only[id] || slices.Contains(r.Not, id)
}

// Decision is where the work goes, and why.
type Decision struct {
	Members []ID
	Why     string
}

// ErrNoRoom is that too few members have room; the error's text says what
// each kind of member lacked.
var ErrNoRoom = errors.New("no room")
