package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"splitvm/monitors/storage/layer"
	"splitvm/remote"
)

var _ remote.Volumes = (*Store)(nil)

// maxVolume bounds the size of a volume (1 PiB).
const maxVolume = 1 << 50

func sizeInBlocks(size uint64) (uint64, error) {
	if size == 0 || size > maxVolume {
		return 0, fmt.Errorf("volume of %d bytes: %w: give 1 byte to 1 PiB", size, remote.Range)
	}
	return (size + remote.BlockSize - 1) / remote.BlockSize, nil
}

// CreateVolume implements remote.Volumes.
func (s *Store) CreateVolume(_ context.Context, id remote.VolumeID, name string, size uint64) (remote.VolumeInfo, error) {
	blocks, err := sizeInBlocks(size)
	if err != nil {
		return remote.VolumeInfo{}, err
	}
	if err := s.newName(id, name); err != nil {
		return remote.VolumeInfo{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := volumeRecord{ID: id, Name: name, Size: blocks * remote.BlockSize, Created: time.Now().UTC()}
	made, err := s.makeLayer(blocks, 0)
	if err != nil {
		return remote.VolumeInfo{}, outcome(err)
	}
	r.Layer = made
	err = s.catalog.db.Update(func(tx *bolt.Tx) error {
		return errors.Join(vacant(tx, id, name), putLayer(tx, &layerRecord{ID: made}), putVolume(tx, &r))
	})
	if err != nil {
		return remote.VolumeInfo{}, outcome(errors.Join(err, s.removeLayers([]layer.ID{made})))
	}
	return s.info(&r)
}

func (s *Store) newName(id remote.VolumeID, name string) error {
	if id == 0 {
		return fmt.Errorf("volume %q: %w: id 0", name, remote.Range)
	}
	if err := checkName(name); err != nil {
		return err
	}
	return s.catalog.db.View(func(tx *bolt.Tx) error { return vacant(tx, id, name) })
}

// vacant fails if the name or the id is taken.
func vacant(tx *bolt.Tx, id remote.VolumeID, name string) error {
	if tx.Bucket(nameBucket).Get([]byte(name)) != nil || tx.Bucket(volumeBucket).Get(key(uint64(id))) != nil {
		return fmt.Errorf("volume %q: %w", name, remote.VolumeExists)
	}
	return nil
}

// makeLayer makes an empty layer under a new id, not yet in the catalog.
func (s *Store) makeLayer(blocks, gen uint64) (layer.ID, error) {
	var id layer.ID
	err := s.catalog.db.Update(func(tx *bolt.Tx) error {
		n, err := tx.Bucket(layerBucket).NextSequence()
		id = layer.ID(n)
		return err
	})
	if err != nil {
		return 0, err
	}
	return id, layer.Create(s.dir, id, blocks, gen)
}

func (s *Store) countVolumes() (n uint64, err error) {
	err = s.catalog.db.View(func(tx *bolt.Tx) error {
		return eachVolume(tx, func(volumeRecord) error {
			n++
			return nil
		})
	})
	return n, err
}

// ListVolumes implements remote.Volumes.
func (s *Store) ListVolumes(context.Context) ([]remote.VolumeInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var records []volumeRecord
	err := s.catalog.db.View(func(tx *bolt.Tx) error {
		return eachVolume(tx, func(r volumeRecord) error {
			records = append(records, r)
			return nil
		})
	})
	if err != nil {
		return nil, outcome(err)
	}
	list := make([]remote.VolumeInfo, 0, len(records))
	for i := range records {
		info, err := s.info(&records[i])
		if err != nil {
			return nil, outcome(err)
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b remote.VolumeInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// InspectVolume implements remote.Volumes.
func (s *Store) InspectVolume(_ context.Context, name string) (remote.VolumeInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.named(name)
	if err != nil {
		return remote.VolumeInfo{}, outcome(err)
	}
	return s.infoOf(v)
}

func (s *Store) infoOf(v *Volume) (remote.VolumeInfo, error) {
	v.mu.RLock()
	r := v.record
	v.mu.RUnlock()
	info, err := s.info(&r)
	return info, outcome(err)
}

// info describes a volume. Preconditions: mu is held.
func (s *Store) info(r *volumeRecord) (remote.VolumeInfo, error) {
	info := remote.VolumeInfo{
		ID: r.ID, Name: r.Name, Size: r.Size, Epoch: r.Epoch, ReadOnly: r.ReadOnly, Origin: r.Origin,
		Created: r.Created, Members: slices.Clone(r.Members),
	}
	if v := s.volumes[r.ID]; v != nil {
		v.mu.RLock()
		info.Writer = v.writer.present()
		v.mu.RUnlock()
	}
	own := !r.ReadOnly
	err := s.catalog.db.View(func(tx *bolt.Tx) error {
		for id := r.Layer; id != 0; own = false {
			l, err := getLayer(tx, id)
			if err != nil {
				return err
			}
			used, err := layer.Used(s.dir, id)
			if err != nil {
				return err
			}
			if own {
				info.Used += used
			} else {
				info.Shared += used
			}
			id = l.Parent
		}
		return nil
	})
	return info, err
}

// ResizeVolume implements remote.Volumes.
func (s *Store) ResizeVolume(_ context.Context, name string, size uint64) (remote.VolumeInfo, error) {
	blocks, err := sizeInBlocks(size)
	if err != nil {
		return remote.VolumeInfo{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.named(name)
	if err == nil {
		err = s.resize(v, blocks)
	}
	if err != nil {
		return remote.VolumeInfo{}, outcome(err)
	}
	return s.infoOf(v)
}

// resize puts a new layer of the new size on top: it shows as much of the old
// one as both have.
// Preconditions: mu is held.
func (s *Store) resize(v *Volume, blocks uint64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.record.ReadOnly:
		return remote.ReadOnly
	case v.writer.present():
		return remote.Busy
	case blocks*remote.BlockSize == v.record.Size:
		return nil
	}
	r := v.record
	r.Size = blocks * remote.BlockSize
	return s.cover(v, r, blocks, min(blocks, v.record.Size/remote.BlockSize), nil)
}

// DeleteVolume implements remote.Volumes.
func (s *Store) DeleteVolume(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.named(name)
	if err != nil {
		return outcome(err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.writer.present() {
		return fmt.Errorf("volume %q: %w", name, remote.Busy)
	}
	var unused []layer.ID
	err = s.catalog.db.Update(func(tx *bolt.Tx) (err error) {
		if err = errors.Join(tx.Bucket(volumeBucket).Delete(key(uint64(v.record.ID))), tx.Bucket(nameBucket).Delete([]byte(name))); err == nil {
			unused, err = unusedLayers(tx)
		}
		return err
	})
	if err != nil {
		return outcome(err)
	}
	v.deleted = true
	delete(s.volumes, v.record.ID)
	return outcome(errors.Join(s.closeStack(v.stack), s.removeLayers(unused)))
}

// ScrubVolume implements remote.Volumes.
func (s *Store) ScrubVolume(ctx context.Context, name string) (remote.ScrubReport, error) {
	v, err := s.Named(name)
	if err != nil {
		return remote.ScrubReport{}, outcome(err)
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.deleted {
		return remote.ScrubReport{}, remote.NoVolume
	}
	var sum remote.ScrubReport
	for _, p := range v.stack {
		r, err := p.Scrub(ctx)
		sum.Checked += r.Checked
		sum.Damaged = append(sum.Damaged, r.Damaged...)
		if err != nil {
			return sum, outcome(err)
		}
	}
	return sum, nil
}
