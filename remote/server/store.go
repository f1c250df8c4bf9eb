package server

import (
	"context"

	"splitvm/remote"
)

// Pinned is a line that is held still while it is sent.
type Pinned struct {
	Mem    []byte // LineSize bytes; nil: the line is zero
	Frame  uint32 // for the store
	Sum    uint32 // wire.LineSum of Mem, if Summed
	Summed bool
}

// Filling is frames of a store that receive the payload of a write. No reader
// sees them before Commit.
type Filling struct {
	Mem    [][]byte // LineSize bytes each
	Frames []uint32 // for the store
	Sums   []uint32 // wire.LineSum of each, if Summed; set by the server
	Summed bool
}

// Reader is how a server reads lines.
type Reader interface {
	// Pin appends the lines of runs, as they are now, to p; their contents stay
	// until Unpin, whatever is written meanwhile. Errors are as in
	// remote.LineStore and leave p as it was.
	Pin(at remote.Owned, runs []remote.Run, p []Pinned) ([]Pinned, error)
	// Unpin gives the lines back; each has been pinned once.
	Unpin(p []Pinned)
}

// Writer is how a server writes lines: the payload is received into frames that
// nobody sees, and then put in place of the old lines at once.
type Writer interface {
	// Reserve fills f with a frame for each line of runs. Errors as in
	// remote.LineStore, as far as they can be known already; f is empty then.
	Reserve(at remote.Owned, runs []remote.Run, f *Filling) error
	// Commit makes the frames the lines of runs, which have as many lines. On an
	// error nothing changed. Either way f is empty afterwards.
	Commit(at remote.Owned, runs []remote.Run, f *Filling) error
	// Abandon gives the frames back unused.
	Abandon(f *Filling)
}

// Control is what else a server passes on. Errors as in remote.LineStore and
// remote.VRegions.
type Control interface {
	remote.VRegions
	Discard(ctx context.Context, at remote.Owned, runs []remote.Run) error
}

// Store is a store of lines. Its methods are called concurrently, never block
// on a peer, and return errors with a remote.Kind.
type Store interface {
	Reader
	Writer
	Control
}
