package memory

import (
	"context"

	"splitvm/remote"
	"splitvm/remote/server"
)

// Pin implements server.Reader.
func (s *Store) Pin(at remote.Owned, runs []remote.Run, p []server.Pinned) ([]server.Pinned, error) {
	v, err := s.vregion(at.VRegion)
	if err != nil {
		return p, err
	}
	if err := v.inside(runs, remote.MaxBatch); err != nil {
		return p, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.check(at.Epoch); err != nil {
		return p, err
	}
	for _, r := range runs {
		for l := r.First; l < r.First+remote.Line(r.Count); l++ {
			p = append(p, s.pin(v.index.At(l)))
		}
	}
	return p, nil
}

// pin takes a reference to a frame of an index.
// Preconditions: the vRegion's lock is held.
func (s *Store) pin(f frame) server.Pinned {
	if f == 0 {
		return server.Pinned{}
	}
	m := &s.slab.meta[f]
	state := m.state.Add(1)
	return server.Pinned{Mem: s.slab.line(f), Frame: f, Sum: m.sum, Summed: state&summed != 0}
}

// Unpin implements server.Reader.
func (s *Store) Unpin(p []server.Pinned) {
	var freed [remote.MaxBatch]frame
	n := 0
	for i := range p {
		f := p[i].Frame
		if f == 0 || !s.slab.unref(f) {
			continue
		}
		freed[n] = f
		if n++; n == len(freed) {
			s.slab.free(freed[:])
			n = 0
		}
	}
	s.slab.free(freed[:n])
}

// ReadLines implements remote.LineStore.
func (s *Store) ReadLines(_ context.Context, at remote.Owned, runs []remote.Run, mem [][]byte) (remote.LineSet, error) {
	var zero remote.LineSet
	if !remote.Fits(runs, mem) {
		return zero, remote.Range
	}
	p, err := s.Pin(at, runs, nil)
	if err != nil {
		return zero, err
	}
	defer s.Unpin(p)
	i := 0
	for _, m := range mem {
		for ; len(m) > 0; m = m[remote.LineSize:] {
			if p[i].Mem == nil {
				zero.Add(i)
			} else {
				copy(m, p[i].Mem)
			}
			i++
		}
	}
	return zero, nil
}

// WriteLines implements remote.LineStore.
func (s *Store) WriteLines(_ context.Context, at remote.Owned, runs []remote.Run, mem [][]byte) error {
	if !remote.Fits(runs, mem) {
		return remote.Range
	}
	var f server.Filling
	if err := s.Reserve(at, runs, &f); err != nil {
		return err
	}
	i := 0
	for _, m := range mem {
		for ; len(m) > 0; m = m[remote.LineSize:] {
			copy(f.Mem[i], m)
			i++
		}
	}
	return s.Commit(at, runs, &f)
}
