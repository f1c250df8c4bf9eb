package storage

import (
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"

	"splitvm/monitors/storage/layer"
	"splitvm/remote"
)

// SnapshotVolume implements remote.Volumes.
func (s *Store) SnapshotVolume(_ context.Context, name string, id remote.VolumeID, snapshot string) (remote.VolumeInfo, error) {
	return s.branch(name, id, snapshot, true)
}

// CloneVolume implements remote.Volumes.
func (s *Store) CloneVolume(_ context.Context, name string, id remote.VolumeID, clone string) (remote.VolumeInfo, error) {
	return s.branch(name, id, clone, false)
}

// branch makes a volume of what another one holds now.
func (s *Store) branch(from string, id remote.VolumeID, name string, readOnly bool) (remote.VolumeInfo, error) {
	if err := s.newName(id, name); err != nil {
		return remote.VolumeInfo{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.named(from)
	if err != nil {
		return remote.VolumeInfo{}, outcome(err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	r := volumeRecord{ID: id, Name: name, Size: v.record.Size, Layer: v.record.Layer, ReadOnly: readOnly, Origin: from, Created: time.Now().UTC()}
	blocks := r.Size / remote.BlockSize
	// The new volume's top, unless it is the frozen layer itself.
	var top *layerRecord
	if !readOnly {
		gen, _ := v.stack[0].Generations()
		made, err := s.makeLayer(blocks, gen)
		if err != nil {
			return remote.VolumeInfo{}, outcome(err)
		}
		top = &layerRecord{ID: made, Parent: v.record.Layer, Visible: blocks}
		r.Layer = made
	}
	if err := s.commitBranch(v, r, top, id, name, blocks); err != nil {
		if top != nil {
			err = errors.Join(err, s.removeLayers([]layer.ID{top.ID}))
		}
		return remote.VolumeInfo{}, outcome(err)
	}
	return s.info(&r)
}

// commitBranch stores r, with its own layer top if it has one, in one transaction
// with what becomes of its origin.
func (s *Store) commitBranch(v *Volume, r volumeRecord, top *layerRecord, id remote.VolumeID, name string, blocks uint64) error {
	store := func(tx *bolt.Tx) error {
		errs := []error{vacant(tx, id, name), putVolume(tx, &r)}
		if top != nil {
			errs = append(errs, putLayer(tx, top))
		}
		return errors.Join(errs...)
	}
	if v.record.ReadOnly {
		return s.catalog.db.Update(store)
	}
	return s.cover(v, v.record, blocks, blocks, store)
}

// cover freezes the top layer of a volume and puts an empty one on it, which
// shows visible blocks of it. r is the volume's new record but for the layer, also
// stores what else belongs to the change.
// Preconditions: mu and v.mu are held.
func (s *Store) cover(v *Volume, r volumeRecord, blocks, visible uint64, also func(*bolt.Tx) error) error {
	old := v.stack[0]
	if err := old.Freeze(); err != nil {
		return err
	}
	gen, _ := old.Generations()
	made, err := s.makeLayer(blocks, gen)
	if err != nil {
		return errors.Join(err, old.Thaw())
	}
	cover := layerRecord{ID: made, Parent: old.ID(), Visible: visible}
	r.Layer = made
	err = s.catalog.db.Update(func(tx *bolt.Tx) error {
		frozen, err := getLayer(tx, old.ID())
		if err != nil {
			return err
		}
		frozen.Frozen = true
		err = errors.Join(putLayer(tx, &frozen), putLayer(tx, &cover), putVolume(tx, &r))
		if err == nil && also != nil {
			err = also(tx)
		}
		return err
	})
	if err == nil {
		err = s.openLayer(cover)
	}
	if err != nil {
		return errors.Join(err, s.removeLayers([]layer.ID{made}), old.Thaw())
	}
	v.stack = append([]part{{s.layers[made].Layer, visible}}, v.stack...)
	v.record = r
	return nil
}
