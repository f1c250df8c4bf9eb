package memory

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"splitvm/remote"
	"splitvm/remote/server"
)

// Store holds the lines of vRegions in memory. Its methods may be called
// concurrently.
type Store struct {
	slab *slab
	stop context.CancelFunc
	wg   sync.WaitGroup // the reclaimer

	admin    sync.Mutex                                    // serialises changes of vregions
	vregions atomic.Pointer[map[remote.VRegionID]*vregion] // replaced, never changed
}

var (
	_ remote.LineStore = (*Store)(nil)
	_ remote.VRegions  = (*Store)(nil)
	_ server.Store     = (*Store)(nil)
)

// StoreConfig is a store's size and backing.
type StoreConfig struct {
	// Mem is how many bytes of lines the store may hold; rounded down to lines.
	Mem uint64
	// Huge asks for transparent huge pages.
	Huge bool
}

// NewStore returns an empty store. The caller closes it when no call is under
// way any more.
func NewStore(cfg StoreConfig) (*Store, error) {
	slab, err := newSlab(int64(min(cfg.Mem/remote.LineSize, 1<<40)), cfg.Huge)
	if err != nil {
		return nil, fmt.Errorf("new memory store: %w", err)
	}
	s := &Store{slab: slab}
	s.vregions.Store(&map[remote.VRegionID]*vregion{})
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.wg.Go(func() { slab.reclaim(ctx) })
	return s, nil
}

// Close frees everything.
func (s *Store) Close() error {
	s.stop()
	s.wg.Wait()
	return s.slab.close()
}

func (s *Store) vregion(id remote.VRegionID) (*vregion, error) {
	v := (*s.vregions.Load())[id]
	if v == nil {
		return nil, remote.NoVRegion
	}
	return v, nil
}

// Create implements remote.VRegions.
func (s *Store) Create(_ context.Context, at remote.Owned, lines uint32) error {
	if lines == 0 || lines > remote.MaxVRegionLines || at.Epoch == 0 {
		return remote.Range
	}
	s.admin.Lock()
	defer s.admin.Unlock()
	all := *s.vregions.Load()
	if v := all[at.VRegion]; v != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.epoch == at.Epoch && v.lines == lines {
			return nil
		}
		return remote.Exists
	}
	all = maps.Clone(all)
	all[at.VRegion] = &vregion{id: at.VRegion, lines: lines, epoch: at.Epoch, spare: make([]frame, 0, maxSpare)}
	s.vregions.Store(&all)
	return nil
}

// Adopt implements remote.VRegions.
func (s *Store) Adopt(_ context.Context, at remote.Owned) error {
	v, err := s.vregion(at.VRegion)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.gone:
		return remote.NoVRegion
	case at.Epoch < v.epoch:
		return remote.StaleEpoch
	}
	v.epoch = at.Epoch
	return nil
}

// Delete implements remote.VRegions.
func (s *Store) Delete(_ context.Context, at remote.Owned) error {
	s.admin.Lock()
	defer s.admin.Unlock()
	v, err := s.vregion(at.VRegion)
	if err != nil {
		return err
	}
	v.mu.Lock()
	if at.Epoch < v.epoch {
		v.mu.Unlock()
		return remote.StaleEpoch
	}
	v.gone = true
	v.mu.Unlock()
	all := maps.Clone(*s.vregions.Load())
	delete(all, at.VRegion)
	s.vregions.Store(&all)
	s.discard(v, remote.Run{Count: v.lines})
	v.mu.Lock()
	spare := v.spare
	v.spare = nil
	v.mu.Unlock()
	s.slab.free(spare)
	return nil
}

// Stat implements remote.VRegions.
func (s *Store) Stat(_ context.Context, id remote.VRegionID) (remote.VRegionStat, error) {
	v, err := s.vregion(id)
	if err != nil {
		return remote.VRegionStat{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.stat(), nil
}

// Owned lists the vRegions that the store owns.
func (s *Store) Owned() []remote.VRegionStat {
	all := *s.vregions.Load()
	list := make([]remote.VRegionStat, 0, len(all))
	for _, v := range all {
		v.mu.Lock()
		list = append(list, v.stat())
		v.mu.Unlock()
	}
	return list
}
