package memory

import (
	"context"

	"splitvm/remote"
	"splitvm/remote/server"
)

// Reserve implements server.Writer.
func (s *Store) Reserve(at remote.Owned, runs []remote.Run, f *server.Filling) error {
	v, err := s.vregion(at.VRegion)
	if err != nil {
		return err
	}
	n := remote.CountLines(runs)
	v.mu.Lock()
	if err := v.admit(at.Epoch, runs, s.slab); err != nil {
		v.mu.Unlock()
		return err
	}
	f.Frames, v.spare = pop(f.Frames[:0], v.spare, n)
	v.mu.Unlock()
	var ok bool
	if f.Frames, ok = s.takeAll(f.Frames, n-len(f.Frames)); !ok {
		s.Abandon(f)
		return remote.Full
	}
	f.Mem = f.Mem[:0]
	for _, n := range f.Frames {
		f.Mem = append(f.Mem, s.slab.line(n))
	}
	f.Summed = false
	return nil
}

// admit checks a write as far as that can be done before its payload is there.
// Preconditions: mu is held.
func (v *vregion) admit(e remote.Epoch, runs []remote.Run, s *slab) error {
	if err := v.check(e); err != nil {
		return err
	}
	if err := v.inside(runs, remote.MaxBatch); err != nil {
		return err
	}
	if room := s.limit - s.held.Load(); room < remote.MaxBatch && v.missing(runs) > room {
		return remote.Full
	}
	return nil
}

// takeAll is slab.take, which on failure collects the spares of all vRegions
// and tries again.
func (s *Store) takeAll(dst []frame, n int) ([]frame, bool) {
	if n == 0 {
		return dst, true
	}
	dst, ok := s.slab.take(dst, n)
	if ok {
		return dst, true
	}
	for _, v := range *s.vregions.Load() {
		v.mu.Lock()
		s.slab.free(v.spare)
		v.spare = v.spare[:0]
		v.mu.Unlock()
	}
	return s.slab.take(dst, n)
}

// Abandon implements server.Writer.
func (s *Store) Abandon(f *server.Filling) {
	s.slab.free(f.Frames)
	f.Frames, f.Mem = f.Frames[:0], f.Mem[:0]
}

// Commit implements server.Writer.
func (s *Store) Commit(at remote.Owned, runs []remote.Run, f *server.Filling) error {
	for i, n := range f.Frames {
		m := &s.slab.meta[n]
		state := uint32(1)
		if f.Summed {
			m.sum, state = f.Sums[i], 1|summed
		}
		m.state.Store(state)
	}
	v, err := s.vregion(at.VRegion)
	if err == nil {
		err = s.swap(v, at.Epoch, runs, f)
	}
	if err != nil {
		for _, n := range f.Frames {
			s.slab.meta[n].state.Store(0)
		}
	}
	s.Abandon(f)
	return err
}

// swap puts the frames into the index. Afterwards f.Frames are those that
// became free and are not the vRegion's spares.
func (s *Store) swap(v *vregion, e remote.Epoch, runs []remote.Run, f *server.Filling) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.check(e); err != nil {
		return err
	}
	if err := v.inside(runs, len(f.Frames)); err != nil {
		return err
	}
	most := v.missing(runs)
	if !s.slab.charge(most) {
		return remote.Full
	}
	added, i, freed := int64(0), 0, 0
	for _, r := range runs {
		for l := r.First; l < r.First+remote.Line(r.Count); l++ {
			old := v.index.Put(l, f.Frames[i])
			i++ // freed < i: the list is rewritten behind its reader
			switch {
			case old == 0:
				added++
			case !s.slab.unref(old): // being sent; its sender frees it
			case len(v.spare) < maxSpare:
				v.spare = append(v.spare, old)
			default:
				f.Frames[freed] = old
				freed++
			}
		}
	}
	f.Frames = f.Frames[:freed]
	v.held += uint32(added)
	s.slab.held.Add(added - most)
	return nil
}

// Discard implements remote.LineStore.
func (s *Store) Discard(_ context.Context, at remote.Owned, runs []remote.Run) error {
	v, err := s.vregion(at.VRegion)
	if err != nil {
		return err
	}
	if err := v.inside(runs, remote.MaxVRegionLines); err != nil {
		return err
	}
	for _, r := range runs {
		if err := s.discardEpoch(v, at.Epoch, r); err != nil {
			return err
		}
	}
	return nil
}

// discardEpoch discards a run under an epoch, a piece at a time, so that others
// get at the vRegion in between.
func (s *Store) discardEpoch(v *vregion, e remote.Epoch, r remote.Run) error {
	for r.Count > 0 {
		piece := remote.Run{First: r.First, Count: min(r.Count, discardPiece)}
		v.mu.Lock()
		err := v.check(e)
		if err == nil {
			s.drop(v, piece)
		}
		v.mu.Unlock()
		if err != nil {
			return err
		}
		r.First += remote.Line(piece.Count)
		r.Count -= piece.Count
	}
	return nil
}

// discardPiece is how many lines are discarded under one hold of the lock.
const discardPiece = 2048

// discard discards a run of a vRegion that is gone.
func (s *Store) discard(v *vregion, r remote.Run) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s.drop(v, r)
}

// drop empties the lines of a run.
// Preconditions: v.mu is held.
func (s *Store) drop(v *vregion, r remote.Run) {
	var freed [remote.MaxBatch]frame
	n, dropped := 0, uint32(0)
	for l := r.First; l < r.First+remote.Line(r.Count); l++ {
		old := v.index.Put(l, 0)
		if old == 0 {
			continue
		}
		dropped++
		if !s.slab.unref(old) {
			continue
		}
		freed[n] = old
		if n++; n == len(freed) {
			s.slab.free(freed[:])
			n = 0
		}
	}
	s.slab.free(freed[:n])
	v.held -= dropped
	s.slab.held.Add(-int64(dropped))
}
