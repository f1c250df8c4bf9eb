package storage

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"splitvm/monitors/storage/layer"
	"splitvm/remote"
)

// catalogVersion is the format of the catalog:
//
//	meta     version, monitor (u64 little-endian each)
//	volumes  id (u64 big-endian) -> volumeRecord as JSON
//	names    name -> id
//	layers   id (u64 big-endian) -> layerRecord as JSON
const catalogVersion = 1

var (
	metaBucket   = []byte("meta")
	volumeBucket = []byte("volumes")
	nameBucket   = []byte("names")
	layerBucket  = []byte("layers")
	versionKey   = []byte("version")
	monitorKey   = []byte("monitor")
)

// volumeRecord is a volume in the catalog.
type volumeRecord struct {
	ID       remote.VolumeID    `json:"id"`
	Name     string             `json:"name"`
	Size     uint64             `json:"size"`
	Epoch    remote.Epoch       `json:"epoch"`
	Layer    layer.ID           `json:"layer"` // the top one
	ReadOnly bool               `json:"read_only,omitempty"`
	Origin   string             `json:"origin,omitempty"`
	Created  time.Time          `json:"created"`
	Members  []remote.MonitorID `json:"members,omitempty"`
	Away     []awayRecord       `json:"away,omitempty"`
	Session  remote.SessionID   `json:"session,omitempty"` // the last writer's
	Open     bool               `json:"open,omitempty"`    // it has not closed the volume
	Blank    bool               `json:"blank,omitempty"`   // it was claimed, and was never a member
}

// awayRecord is what a replica misses that went away while others went on.
type awayRecord struct {
	Monitor remote.MonitorID `json:"monitor"`
	Since   uint64           `json:"since"` // everything of this generation of ours, and later
}

// layerRecord is a layer in the catalog.
type layerRecord struct {
	ID      layer.ID `json:"id"`
	Parent  layer.ID `json:"parent,omitempty"`  // 0: none
	Visible uint64   `json:"visible,omitempty"` // how many of the parent's blocks show through
	Frozen  bool     `json:"frozen,omitempty"`
}

// catalog is the embedded database.
type catalog struct {
	db      *bolt.DB
	monitor remote.MonitorID
}

func openCatalog(dir string) (*catalog, error) {
	path := filepath.Join(dir, "catalog.db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if errors.Is(err, bolt.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another monitor; stop that first, or give another --data", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	c := &catalog{db: db}
	if err := db.Update(c.initialize); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return c, nil
}

func (c *catalog) initialize(tx *bolt.Tx) error {
	for _, name := range [][]byte{metaBucket, volumeBucket, nameBucket, layerBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(metaBucket)
	if v := meta.Get(versionKey); v == nil {
		var id [8]byte
		rand.Read(id[:]) // never fails since Go 1.24
		id[0] |= 1
		return errors.Join(meta.Put(versionKey, binary.LittleEndian.AppendUint64(nil, catalogVersion)), meta.Put(monitorKey, id[:]), c.loadID(id[:]))
	} else if n := binary.LittleEndian.Uint64(v); n != catalogVersion {
		return fmt.Errorf("format version %d, this program knows %d", n, catalogVersion)
	}
	return c.loadID(meta.Get(monitorKey))
}

func (c *catalog) loadID(b []byte) error {
	if len(b) != 8 {
		return errors.New("no monitor id")
	}
	c.monitor = remote.MonitorID(binary.LittleEndian.Uint64(b))
	return nil
}

func key(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func putJSON(b *bolt.Bucket, id uint64, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Put(key(id), text)
}

// putVolume stores a record that is new or has its name already.
func putVolume(tx *bolt.Tx, r *volumeRecord) error {
	if err := putJSON(tx.Bucket(volumeBucket), uint64(r.ID), r); err != nil {
		return err
	}
	return tx.Bucket(nameBucket).Put([]byte(r.Name), key(uint64(r.ID)))
}

func putLayer(tx *bolt.Tx, r *layerRecord) error {
	return putJSON(tx.Bucket(layerBucket), uint64(r.ID), r)
}

// volumeID looks a name up; remote.NoVolume.
func volumeID(tx *bolt.Tx, name string) (remote.VolumeID, error) {
	b := tx.Bucket(nameBucket).Get([]byte(name))
	if len(b) != 8 {
		return 0, fmt.Errorf("volume %q: %w", name, remote.NoVolume)
	}
	return remote.VolumeID(binary.BigEndian.Uint64(b)), nil
}

func getVolume(tx *bolt.Tx, id remote.VolumeID) (volumeRecord, error) {
	var r volumeRecord
	text := tx.Bucket(volumeBucket).Get(key(uint64(id)))
	if text == nil {
		return r, fmt.Errorf("%v: %w", id, remote.NoVolume)
	}
	return r, json.Unmarshal(text, &r)
}

func getLayer(tx *bolt.Tx, id layer.ID) (layerRecord, error) {
	var r layerRecord
	text := tx.Bucket(layerBucket).Get(key(uint64(id)))
	if text == nil {
		return r, fmt.Errorf("layer %v is not in the catalog", id)
	}
	return r, json.Unmarshal(text, &r)
}

// eachVolume calls do in the order of ids.
func eachVolume(tx *bolt.Tx, do func(volumeRecord) error) error {
	return tx.Bucket(volumeBucket).ForEach(func(_, text []byte) error {
		var r volumeRecord
		if err := json.Unmarshal(text, &r); err != nil {
			return err
		}
		return do(r)
	})
}

// unusedLayers removes the layers that no volume needs from the catalog and
// returns them.
func unusedLayers(tx *bolt.Tx) ([]layer.ID, error) {
	needed := map[layer.ID]bool{}
	err := eachVolume(tx, func(v volumeRecord) error {
		for id := v.Layer; id != 0 && !needed[id]; {
			needed[id] = true
			r, err := getLayer(tx, id)
			if err != nil {
				return err
			}
			id = r.Parent
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var unused []layer.ID
	layers := tx.Bucket(layerBucket)
	err = layers.ForEach(func(k, _ []byte) error {
		if id := layer.IDOf(k); !needed[id] {
			unused = append(unused, id)
		}
		return nil
	})
	for _, id := range unused {
		err = errors.Join(err, layers.Delete(key(uint64(id))))
	}
	return unused, err
}
