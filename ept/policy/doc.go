// Package policy holds eviction policies: which line of an ExCache leaves next.
//
// They are pure: no clock, lock, goroutine or system call; the pager calls them
// under the lock of a shard, and they cost the same whatever the ExCache's size.
//
// A policy can't see hits: there is no software on the hit path, and no bit
// that says cheaply that a page was used (DONTNEED and PAGEOUT cost as much as a
// fault). What it can see is a line that comes back soon after it left: either
// the pager had kept a copy of it (Insert with Returned), or the policy itself
// remembers its number. So second chances are given to lines that came back.
//
// What it isn't: a policy doesn't know a line's state. A victim that can't leave
// now is handed back with Again, and numbers of lines that left by other ways are
// stale: the pager skips them.
package policy

import (
	"fmt"
	"sort"
	"strings"

	"splitvm/ept/excache"
)

// Origin is why a line became resident.
type Origin uint8

// The origins.
const (
	Demand   Origin = iota // the guest asked for it
	Ahead                  // a prefetcher did
	Returned               // the guest asked for it, and it had left only recently
)

// Policy orders the resident lines of one shard.
type Policy interface {
	// Insert adds a line that became resident.
	Insert(l excache.Line, why Origin)
	// Again adds a line that was a victim and stays: it was used meanwhile.
	Again(l excache.Line)
	// Victim removes and returns the line to evict next; false if there is none.
	Victim() (excache.Line, bool)
	// Len returns how many lines it holds, stale ones included.
	Len() int
}

// Kind is a policy by name.
type Kind struct {
	// New returns a policy for about capacity resident lines; that may be exceeded.
	New func(capacity int) Policy
	// HoldShare is the share of the ExCache that should keep copies of lines
	// that left, as their second chance, in 1/256.
	HoldShare int
}

// Kinds are the policies.
var kinds = map[string]Kind{
	"fifo":   {New: func(int) Policy { return &FIFO{} }, HoldShare: 8},
	"s3fifo": {New: func(n int) Policy { return NewS3FIFO(n) }, HoldShare: 4},
	"lru":    {New: func(int) Policy { return &FIFO{} }, HoldShare: 64},
}

// Default names the policy to use where none is asked for.
const Default = "fifo"

// ByName returns the policy of a name; the error lists the names.
func ByName(name string) (Kind, error) {
	k, ok := kinds[name]
	if !ok {
		return Kind{}, fmt.Errorf("no eviction policy %q: have %s", name, strings.Join(Names(), ", "))
	}
	return k, nil
}

// Names returns the names of the policies, sorted.
func Names() []string {
	var names []string
	for n := range kinds {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
