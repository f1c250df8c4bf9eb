package global

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"

	"splitvm/remote"
	"splitvm/remote/api"
	"splitvm/remote/blockclient"
)

// moveSnapshot makes a replica of a snapshot, which nobody can write, at the target: of a
// volume of another name, into which what a replica holds is copied. Who has the snapshot
// open goes on with the replicas that it was told of.
func (l *leader) moveSnapshot(ctx context.Context, v *api.VolumePlace, from, to *api.Replica) error {
	l.mu.Lock()
	done, err := l.reserve(v)
	var at []string
	for _, r := range v.Monitors {
		if !r.Away && len(r.Data) > 0 {
			at = append(at, r.Data[0])
		}
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	defer done()
	err = atReplica(ctx, to, func(ctx context.Context, m remote.Volumes) error {
		return copySnapshot(ctx, v, at, to.Data[0], m)
	})
	if err != nil {
		return l.volumeNotMoved(v, to, err.Error())
	}
	return l.volumeMoved(v, from, to)
}

// copySuffix makes a name that no volume of a rack has.
const copySuffix = "@copy"

// copySnapshot makes a snapshot at a storage monitor, unless an earlier try has, and leaves
// nothing else there.
func copySnapshot(ctx context.Context, v *api.VolumePlace, at []string, to string, m remote.Volumes) error {
	name := v.Name + copySuffix
	made, err := prepareCopy(ctx, v, name, m)
	if made || err != nil {
		return err
	}
	err = copyVolume(ctx, v, at, to, name)
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), replicaTime)
	defer cancel()
	if err == nil {
		_, err = m.SnapshotVolume(asking, name, remote.VolumeID(v.Id), v.Name)
	}
	return errors.Join(err, deleteCopy(asking, name, m))
}

// prepareCopy makes an empty volume for the copy, unless the snapshot is there already.
func prepareCopy(ctx context.Context, v *api.VolumePlace, name string, m remote.Volumes) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, replicaTime)
	defer cancel()
	if err := deleteCopy(ctx, name, m); err != nil { // of an earlier try
		return false, err
	}
	old, err := m.InspectVolume(ctx, v.Name)
	switch {
	case err == nil && uint64(old.ID) == v.Id:
		return true, nil
	case err == nil:
		return false, remote.VolumeExists
	case remote.KindOf(err) != remote.NoVolume:
		return false, err
	}
	var id [8]byte
	rand.Read(id[:]) // never fails since Go 1.24
	_, err = m.CreateVolume(ctx, remote.VolumeID(binary.LittleEndian.Uint64(id[:])|1), name, v.Bytes)
	return false, err
}

func deleteCopy(ctx context.Context, name string, m remote.Volumes) error {
	if err := m.DeleteVolume(ctx, name); remote.KindOf(err) != remote.NoVolume {
		return err
	}
	return nil
}

// copyVolume fills the volume of a name at a storage monitor with what replicas hold.
func copyVolume(ctx context.Context, v *api.VolumePlace, at []string, to, name string) error {
	src, err := blockclient.Open(ctx, blockclient.Config{Monitors: at, Name: v.Name, ReadOnly: true})
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := blockclient.Open(ctx, blockclient.Config{Monitors: []string{to}, Name: name})
	if err != nil {
		return err
	}
	return errors.Join(dst.Fill(ctx, src.Reader(ctx), int64(v.Bytes)), dst.Close())
}
