package remote

import (
	"context"
	"fmt"
)

// LineSize is the size of a line in bytes: an x86 page, the unit of every
// transfer.
const LineSize = 4096

// MaxVRegionLines is the size of the largest vRegion in lines (1 GiB).
const MaxVRegionLines = 1 << 18

// MaxBatch is the largest number of lines in one request (1 MiB of payload),
// and also the largest number of runs.
const MaxBatch = 256

// VRegionID names a vRegion; unique in a cluster and never used again.
type VRegionID uint64

// Line is the index of a line in its vRegion.
type Line uint32

// Epoch is the version of a vRegion's ownership. It only grows. A monitor
// refuses requests of another epoch than the one it holds.
type Epoch uint64

// MonitorID names a monitor in a cluster.
type MonitorID uint64

// InstanceID names one life of a monitor process: lines in memory do not
// outlive it, so a monitor with a new instance has lost what the old one held.
type InstanceID uint64

// SessionID names a client of a monitor over all its connections; see
// remote/client.
type SessionID uint64

// String gives the id as it appears in logs and command lines.
func (id VRegionID) String() string { return fmt.Sprintf("vr-%x", uint64(id)) }

// String gives the id as it appears in logs and command lines.
func (id MonitorID) String() string { return fmt.Sprintf("mon-%x", uint64(id)) }

// Owned addresses a vRegion under the epoch that the caller believes in.
type Owned struct {
	VRegion VRegionID
	Epoch   Epoch
}

// String gives the vRegion and the epoch.
func (o Owned) String() string { return fmt.Sprintf("%v@%d", o.VRegion, o.Epoch) }

// Run is Count consecutive lines from First.
type Run struct {
	First Line
	Count uint32
}

// CountLines returns the number of lines in runs. It saturates instead of
// overflowing.
func CountLines(runs []Run) int {
	n := uint64(0)
	for _, r := range runs {
		n += uint64(r.Count)
	}
	return int(min(n, 1<<62))
}

// LineStore is the data role of a memory monitor.
//
// In every method the requested lines are those of runs, in that order; they
// number 1 to MaxBatch. In mem they lie back to back: mem is a list of slices,
// each a positive multiple of LineSize, together exactly as long as the lines.
// A line that appears twice in the runs of a write has one of its contents.
//
// Errors have a Kind (KindOf): Range if a run leaves the vRegion, is empty or
// the counts do not fit; NoVRegion if the monitor does not own it; StaleEpoch if
// it holds a newer epoch, FutureEpoch if it holds an older one (see
// VRegions.Adopt). A form with a network adds Timeout, Disconnected, Restarted,
// Fenced and Closed.
type LineStore interface {
	// ReadLines fills mem. Lines that hold nothing are set in the result, by
	// their position in the request, and their memory is left untouched: most
	// callers can install a zero page cheaper than they can copy one. On an
	// error the contents of mem are unspecified.
	ReadLines(ctx context.Context, at Owned, runs []Run, mem [][]byte) (LineSet, error)

	// WriteLines stores the lines; on return without an error each is held and
	// seen by all. Full means that the monitor is out of memory and that all
	// the lines are as they were. Corrupt means that the payload did not arrive
	// as it was sent, also without effect.
	WriteLines(ctx context.Context, at Owned, runs []Run, mem [][]byte) error

	// Discard frees the lines: they read as zeroes from now on and their memory
	// goes back to the monitor. Discarding a line that holds nothing is no
	// error. The runs may have any number of lines here (a whole vRegion).
	Discard(ctx context.Context, at Owned, runs []Run) error
}

// VRegions is the control role of a memory monitor. All its methods may be
// repeated: a repetition of a call that succeeded succeeds (Delete reports
// NoVRegion).
type VRegions interface {
	// Create makes the monitor own a vRegion of the given number of lines, all
	// zero. Exists if it owns one of this id with another epoch or size; Range
	// if lines is 0 or above MaxVRegionLines. Epoch 0 is refused (Range).
	Create(ctx context.Context, at Owned, lines uint32) error

	// Adopt raises the vRegion's epoch to at.Epoch. Afterwards no request of an
	// older epoch is served, nor will one that is on its way take effect.
	// StaleEpoch if the monitor holds a newer one.
	Adopt(ctx context.Context, at Owned) error

	// Delete discards the vRegion and everything in it. StaleEpoch if the
	// monitor holds a newer epoch than at.
	Delete(ctx context.Context, at Owned) error

	// Stat describes the vRegion; the epoch is an answer here, not a condition.
	Stat(ctx context.Context, id VRegionID) (VRegionStat, error)
}

// VRegionStat describes one vRegion.
type VRegionStat struct {
	VRegion VRegionID
	Epoch   Epoch
	Lines   uint32 // size, in lines
	Held    uint32 // lines that have physical memory
}

// Fits tells whether runs have 1 to MaxBatch lines and mem is made of whole
// lines, as many as runs.
func Fits(runs []Run, mem [][]byte) bool {
	n := CountLines(runs)
	if n < 1 || n > MaxBatch || len(runs) > MaxBatch {
		return false
	}
	have := 0
	for _, m := range mem {
		if len(m) == 0 || len(m)%LineSize != 0 {
			return false
		}
		have += len(m) / LineSize
	}
	return have == n
}
