package ept

import (
	"context"
	"time"

	"splitvm/remote"
)

// Monitor is a memory monitor as the pager sees it: requests that are started and
// report their end, so that one thread can have many under way. The runs and the
// memory of a request belong to the monitor until done is called, and are never
// touched afterwards, however late an answer comes.
//
// Done is called exactly once, in bounded time (the monitor has a deadline for
// each request), on a thread of the monitor's or before Start… returns. It
// does not block for long. Errors have a remote.Kind. A request of kind Timeout
// or Disconnected may have been executed, but will not be executed later
// than a request that is started after its done was called.
type Monitor interface {
	// StartRead fills r.Mem with the lines. Lines in the absent set (by their
	// position) hold nothing, and their memory was not touched.
	StartRead(r Read, done ReadDone)

	// StartWrite writes the lines of runs, at most remote.MaxBatch. Mem has their
	// contents back to back.
	StartWrite(at remote.Owned, runs []remote.Run, mem [][]byte, done WriteDone)

	// StartDiscard frees the lines of runs.
	StartDiscard(at remote.Owned, runs []remote.Run, done WriteDone)

	// String names the monitor (its address) for errors.
	String() string
}

// Read is a request for lines, at most remote.MaxBatch.
type Read struct {
	Urgent   bool // a vCPU waits
	At       remote.Owned
	Runs     []remote.Run
	Mem      []byte    // of the lines, back to back
	Deadline time.Time // zero: the monitor's own
}

// ReadDone is told the end of a read.
type ReadDone interface {
	ReadDone(absent *remote.LineSet, err error)
}

// WriteDone is told the end of a write or discard.
type WriteDone interface {
	WriteDone(err error)
}

// Placement says who has the lines of each vRegion. A vRegion gets
// owners when it is first written to, and others when it moves (Move.Commit).
type Placement interface {
	// Region returns the vRegion of the index, its epoch and the indices of its
	// owners in the list of monitors, of which each has every line. An error
	// stops the vNode. Called from the fault path: it must not block.
	Region(i int) (Region, error)

	// Place is Region, called before lines are first written to the vRegion: it
	// finds owners and has them create the vRegion. It may block until ctx ends.
	Place(ctx context.Context, i int) (Region, error)
}

// Region is a vRegion and its owners.
type Region struct {
	At     remote.Owned
	Owners []int
}
