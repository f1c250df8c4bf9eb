package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	bolt "go.etcd.io/bbolt"

	"splitvm/monitors/storage/layer"
	"splitvm/remote"
)

// Store is a data directory.
type Store struct {
	dir     string
	catalog *catalog

	mu      sync.Mutex
	volumes map[remote.VolumeID]*Volume // guarded by mu; those that were used
	layers  map[layer.ID]*sharedLayer   // guarded by mu; those of them
}

// sharedLayer is an open layer and how many stacks it is in.
type sharedLayer struct {
	*layer.Layer
	stacks int
}

// OpenStore opens the data directory, which it makes if it is not there. One
// process at a time may have it open.
func OpenStore(dir string) (*Store, error) {
	layers := filepath.Join(dir, "layers")
	if err := os.MkdirAll(layers, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	c, err := openCatalog(dir)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	s := &Store{dir: layers, catalog: c, volumes: map[remote.VolumeID]*Volume{}, layers: map[layer.ID]*sharedLayer{}}
	if err := s.sweep(); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", dir, err), c.db.Close())
	}
	return s, nil
}

// Monitor is the id of the data directory, and so of the monitor.
func (s *Store) Monitor() remote.MonitorID { return s.catalog.monitor }

// Close flushes and closes all volumes. No request may be under way.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, l := range s.layers {
		errs = append(errs, l.Close())
	}
	return errors.Join(append(errs, s.catalog.db.Close())...)
}

// sweep removes the directories of layers that the catalog does not have: what a
// crash left in the middle of a change.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	return s.catalog.db.View(func(tx *bolt.Tx) error {
		known := map[string]bool{}
		err := tx.Bucket(layerBucket).ForEach(func(k, _ []byte) error {
			known[layer.IDOf(k).String()] = true
			return nil
		})
		for _, e := range entries {
			if !known[e.Name()] {
				err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, e.Name())))
			}
		}
		return err
	})
}

var nameOK = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}$`).MatchString

func checkName(name string) error {
	if !nameOK(name) {
		return fmt.Errorf("volume name %q: %w: use 1 to 128 letters, digits and ._-:@/+, beginning with a letter or digit", name, remote.Range)
	}
	return nil
}

// Named returns the volume of that name, open.
func (s *Store) Named(name string) (*Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named(name)
}

// named is Named. Preconditions: mu is held.
func (s *Store) named(name string) (*Volume, error) {
	var r volumeRecord
	err := s.catalog.db.View(func(tx *bolt.Tx) error {
		id, err := volumeID(tx, name)
		if err == nil {
			r, err = getVolume(tx, id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if v := s.volumes[r.ID]; v != nil {
		return v, nil
	}
	v := &Volume{store: s, record: r}
	if v.stack, err = s.openStack(r.Layer); err != nil {
		return nil, fmt.Errorf("open volume %q: %w", name, err)
	}
	s.volumes[r.ID] = v
	return v, nil
}

// openStack opens a layer and those below it.
// Preconditions: mu is held.
func (s *Store) openStack(top layer.ID) ([]part, error) {
	var stack []part
	for id := top; id != 0; {
		var r layerRecord
		err := s.catalog.db.View(func(tx *bolt.Tx) (err error) {
			r, err = getLayer(tx, id)
			return err
		})
		if err == nil {
			err = s.openLayer(r)
		}
		if err != nil {
			return nil, errors.Join(err, s.closeStack(stack))
		}
		stack = append(stack, part{s.layers[id].Layer, r.Visible})
		id = r.Parent
	}
	return stack, nil
}

// openLayer opens a layer for one more stack.
// Preconditions: mu is held.
func (s *Store) openLayer(r layerRecord) error {
	if l := s.layers[r.ID]; l != nil {
		l.stacks++
		return nil
	}
	l, err := layer.Open(s.dir, r.ID, r.Frozen)
	if err != nil {
		return err
	}
	s.layers[r.ID] = &sharedLayer{l, 1}
	return nil
}

// closeStack closes what no other stack has.
// Preconditions: mu is held.
func (s *Store) closeStack(stack []part) error {
	var errs []error
	for _, p := range stack {
		l := s.layers[p.ID()]
		if l.stacks--; l.stacks == 0 {
			delete(s.layers, p.ID())
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// removeLayers removes the directories of layers that are out of the catalog.
func (s *Store) removeLayers(ids []layer.ID) error {
	var errs []error
	for _, id := range ids {
		errs = append(errs, os.RemoveAll(filepath.Join(s.dir, id.String())))
	}
	return errors.Join(errs...)
}
