package memory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"sync/atomic"

	"splitvm/remote"
	"splitvm/remote/onesided"
	"splitvm/remote/server"
)

// Store holds the lines of vRegions in memory. Its methods may be called
// concurrently.
type Store struct {
	slab  *slab
	index *onesided.Index
	files []*os.File // see Files
	stop  context.CancelFunc
	wg    sync.WaitGroup // the reclaimer

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
	// Share has clients on this host read lines without asking (see Files), but for
	// huge ones: memory that is shared gets no huge pages from most kernels.
	Share bool
}

// NewStore returns an empty store. The caller closes it when no call is under
// way any more.
func NewStore(cfg StoreConfig) (*Store, error) {
	cfg.Share = cfg.Share && !cfg.Huge
	slab, err := newSlab(int64(min(cfg.Mem/remote.LineSize, 1<<40)), cfg)
	if err != nil {
		return nil, fmt.Errorf("new memory store: %w", err)
	}
	index, err := onesided.NewIndex()
	if err != nil {
		slab.close()
		return nil, fmt.Errorf("new memory store: %w", err)
	}
	s := &Store{slab: slab, index: index}
	s.vregions.Store(&map[remote.VRegionID]*vregion{})
	if cfg.Share {
		err = s.share()
	}
	if err != nil {
		index.Close()
		slab.close()
		return nil, fmt.Errorf("new memory store: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.wg.Go(func() { slab.reclaim(ctx) })
	return s, nil
}

// Files are the store's memory for onesided.Open, by clients on this host; nil if it is
// not shared. They are closed with the store.
func (s *Store) Files() []*os.File { return s.files }

// share opens the files.
func (s *Store) share() error {
	for _, f := range []*os.File{s.slab.file, s.index.File()} {
		r, err := onesided.ReadOnly(f)
		if err != nil {
			return err
		}
		s.files = append(s.files, r)
	}
	return nil
}

// Close frees everything.
func (s *Store) Close() error {
	s.stop()
	s.wg.Wait()
	for _, f := range s.files {
		f.Close()
	}
	return errors.Join(s.index.Close(), s.slab.close())
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
	index, err := s.index.Add(at, lines)
	if err != nil {
		return err
	}
	all = maps.Clone(all)
	all[at.VRegion] = &vregion{id: at.VRegion, lines: lines, epoch: at.Epoch, index: index, spare: make([]frame, 0, maxSpare)}
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
	v.index.SetEpoch(at.Epoch)
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
	v.index.Hide()
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
	s.index.Remove(v.index)
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
