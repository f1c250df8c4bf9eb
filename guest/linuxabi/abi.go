// Package linuxabi is the table of Linux's system calls on amd64: number, name,
// how far gVisor's Sentry implements each, which of LegoOS's monitors answers for
// it in a splitkernel, and whether LegoOS itself ran it.
//
// The table is what a process guest (an unmodified Linux program over the Sentry
// in the vmm process) can call, and what is to be split between components. It
// is data only: nothing here runs a system call.
//
// Numbers, names and support levels are generated (go generate) from gVisor's
// AMD64 table; the calls that Linux has and gVisor's table has not are from
// golang.org/x/sys/unix. (gVisor's other tables, in pkg/sentry/strace, have fewer
// calls than that, and pkg/abi/linux has no names.) The Sentry is 340 packages and 30 MB, so that only
// the generator imports it. Which monitor a call belongs to is ours: see
// monitor.go, where each rule gives its reason.
package linuxabi

//go:generate go run ./internal/gen -o table_gen.go

import (
	"fmt"
	"slices"
)

// Number is a system call's number on amd64.
type Number uint16

// Support says how far gVisor implements a system call.
type Support uint8

// The levels of Support, least first.
const (
	Absent        Support = iota // not in gVisor's table: ENOSYS
	Unimplemented                // known to gVisor, always an error
	Partial                      // with the exceptions that the note tells
	Full
)

var supportNames = [...]string{"absent", "unimplemented", "partial", "full"}

func (s Support) String() string {
	if int(s) < len(supportNames) {
		return supportNames[s]
	}
	return fmt.Sprintf("Support(%d)", uint8(s))
}

// MarshalText gives the level's name.
func (s Support) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Works tells whether a program that makes the call gets more than an error.
func (s Support) Works() bool { return s >= Partial }

// Syscall is one system call.
type Syscall struct {
	Number  Number   `json:"number"`
	Name    string   `json:"name"`
	Monitor Monitor  `json:"monitor"`
	Support Support  `json:"support"`
	Lego    bool     `json:"lego"`             // LegoOS ran it
	Note    string   `json:"note,omitempty"`   // gVisor's, on what is missing
	Issues  []string `json:"issues,omitempty"` // gVisor's, on the same
}

// entry is a line of the generated table.
type entry struct {
	number  Number
	name    string
	support Support
	note    string
	issues  []string
}

// All gives every system call, by number. The slice is the caller's.
func All() []Syscall {
	list := make([]Syscall, 0, len(table))
	for _, e := range table {
		list = append(list, Syscall{
			Number: e.number, Name: e.name, Support: e.support, Note: e.note, Issues: slices.Clone(e.issues),
			Monitor: monitorOf[e.name], Lego: slices.Contains(lego, e.name),
		})
	}
	return list
}
