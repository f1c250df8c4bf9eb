// Package prefetch holds prefetchers: which lines a guest will want next.
//
// They are pure: no clock, lock, goroutine or system call; the pager calls them
// under the lock of a shard.
//
// A prefetcher can't see hits, only faults. So that it learns how far a stream
// has come and whether its advice was any good, each advice names one line as
// its mark, in the middle: the pager brings it, but keeps it back unmapped. The
// guest's fault on the mark costs no message; it says that the stream goes on, and
// the next lines are asked for while the guest uses up the second half. A mark
// that nobody comes for was a wrong guess. (Linux's page cache marks its
// readahead in the same way, mm/readahead.c.)
//
// What it isn't: a prefetcher doesn't know a line's state, nor how many frames are
// free. The pager brings what it can of an advice, and skips what is there.
package prefetch

import (
	"fmt"
	"sort"
	"strings"

	"splitvm/ept/excache"
)

// Advice is lines to bring ahead: First, First+Stride and so on, Count of them.
type Advice struct {
	First  excache.Line
	Stride int64
	Count  int  // 0: nothing
	Mark   int  // the position of the mark
	Write  bool // the guest will write to them
}

// At returns the line at position i; false if it is below line 0.
func (a *Advice) At(i int) (excache.Line, bool) {
	l := int64(a.First) + int64(i)*a.Stride
	return excache.Line(l), l >= 0 && l < excache.MaxLines
}

// Prefetcher advises from the faults of one shard.
type Prefetcher interface {
	// Fault is told of a fault on a line that was not mapped, a mark or not, and
	// returns what to bring, at most room lines.
	Fault(l excache.Line, write bool, room int) Advice
	// Feedback is told what became of a mark: it was used, or given up.
	Feedback(used bool)
}

// MaxWindow is the most lines in an advice.
const MaxWindow = 256

var kinds = map[string]func() Prefetcher{
	"off":        func() Prefetcher { return Off{} },
	"sequential": func() Prefetcher { return NewSequential() },
	"majority":   func() Prefetcher { return NewTrend() },
}

// Default names the prefetcher to use where none is asked for.
const Default = "majority"

// ByName returns a new prefetcher of a name; the error lists the names.
func ByName(name string) (Prefetcher, error) {
	f, ok := kinds[name]
	if !ok {
		return nil, fmt.Errorf("no prefetcher %q: have %s", name, strings.Join(Names(), ", "))
	}
	return f(), nil
}

// Names returns the names of the prefetchers, sorted.
func Names() []string {
	var names []string
	for n := range kinds {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Off brings nothing ahead.
type Off struct{}

// Fault implements Prefetcher.
func (Off) Fault(excache.Line, bool, int) Advice { return Advice{} }

// Feedback implements Prefetcher.
func (Off) Feedback(bool) {}
