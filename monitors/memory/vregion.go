package memory

import (
	"sync"

	"splitvm/remote"
	"splitvm/remote/onesided"
)

const maxSpare = remote.MaxBatch

// vregion is one vRegion. Its epoch only grows.
type vregion struct {
	id    remote.VRegionID // immutable
	lines uint32           // immutable

	mu    sync.Mutex
	epoch remote.Epoch // guarded by mu, as is all below
	gone  bool         // deleted
	index *onesided.Table
	held  uint32  // lines in the index
	spare []frame // see the package doc; capacity maxSpare
}

// check tells whether a request under epoch e may be served.
// Preconditions: mu is held.
func (v *vregion) check(e remote.Epoch) error {
	switch {
	case v.gone:
		return remote.NoVRegion
	case e < v.epoch:
		return remote.StaleEpoch
	case e > v.epoch:
		return remote.FutureEpoch
	}
	return nil
}

// stat describes the vRegion.
// Preconditions: mu is held.
func (v *vregion) stat() remote.VRegionStat {
	return remote.VRegionStat{VRegion: v.id, Epoch: v.epoch, Lines: v.lines, Held: v.held}
}

// inside tells whether runs are in the vRegion, none is empty, and together
// they have at most most lines.
func (v *vregion) inside(runs []remote.Run, most int) error {
	total := uint64(0)
	for _, r := range runs {
		end := uint64(r.First) + uint64(r.Count)
		total += uint64(r.Count)
		if r.Count == 0 || end > uint64(v.lines) || total > uint64(most) {
			return remote.Range
		}
	}
	if total == 0 {
		return remote.Range
	}
	return nil
}

// missing counts the lines of runs that hold nothing; a line that is named
// twice counts twice.
// Preconditions: mu is held, runs are inside.
func (v *vregion) missing(runs []remote.Run) int64 {
	n := int64(0)
	for _, r := range runs {
		for l := r.First; l < r.First+remote.Line(r.Count); l++ {
			if v.index.At(l) == 0 {
				n++
			}
		}
	}
	return n
}
