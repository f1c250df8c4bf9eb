package global

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"splitvm/monitors/global/place"
	"splitvm/remote"
	"splitvm/remote/api"
)

// Limits of a volume.
const (
	maxReplicas = 16
	maxVolume   = 1 << 50
)

// createVolume implements api.VolumesServer. The place is written before any
// replica is made, so that a leader which is lost in between leaves a volume that
// is listed as being created: the same request again goes on with it.
func (l *leader) createVolume(ctx context.Context, in *api.CreateVolumeRequest) (*api.VolumePlace, error) {
	v, done, err := l.placeVolume(in)
	if err != nil {
		return nil, err
	}
	defer done()
	if v.State == api.VolumeState_VOLUME_STATE_READY {
		return v, nil
	}
	create := func(ctx context.Context, m remote.Volumes) (remote.VolumeInfo, error) {
		return m.CreateVolume(ctx, remote.VolumeID(v.Id), v.Name, v.Bytes)
	}
	return l.makeReplicas(ctx, v, create)
}

// placeVolume finds storage monitors for a new volume. The volume is the caller's
// to change until it calls done.
func (l *leader) placeVolume(in *api.CreateVolumeRequest) (_ *api.VolumePlace, done func(), err error) {
	n := max(1, int(in.Replicas))
	if !nameOK(in.Name) || n > maxReplicas {
		return nil, nil, status.Errorf(codes.InvalidArgument, "volume %q with %d replicas: give a name of letters, digits, '-', '_' and '.', and up to %d replicas", in.Name, n, maxReplicas)
	}
	bytes, err := wholeBlocks(in.Name, in.Bytes)
	if err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, done, err := l.again(in.Name, in.RequestId); v != nil || err != nil {
		return v, done, err
	}
	d, err := l.pools[api.Role_ROLE_STORAGE].Place(place.Request{Need: place.Amount{bytes}, Replicas: n})
	if err != nil {
		return nil, nil, status.Errorf(codes.ResourceExhausted, "place volume %s (%d MiB): %v", in.Name, bytes>>20, err)
	}
	v := &api.VolumePlace{Name: in.Name, Bytes: bytes, Why: d.Why, RequestId: in.RequestId}
	for _, m := range d.Members {
		v.Replicas = append(v.Replicas, uint64(m))
	}
	return l.newVolume(v)
}

// again is a volume that an earlier try of the same request placed. The caller
// holds mu.
func (l *leader) again(name, request string) (*api.VolumePlace, func(), error) {
	v := l.volumes[name]
	switch {
	case v == nil:
		return nil, nil, nil
	case v.RequestId != request || request == "":
		return nil, nil, status.Errorf(codes.AlreadyExists, "a volume named %s is there already: `splitvm volume rm %s` removes it", name, name)
	}
	done, err := l.change(v)
	return l.located(v), done, err
}

// newVolume writes the record of a volume that has been placed. The caller holds
// mu.
func (l *leader) newVolume(v *api.VolumePlace) (*api.VolumePlace, func(), error) {
	var id [8]byte
	rand.Read(id[:]) // never fails since Go 1.24
	v.Id = binary.LittleEndian.Uint64(id[:]) | 1
	v.State, v.CreatedUnixMs = api.VolumeState_VOLUME_STATE_CREATING, time.Now().UnixMilli()
	l.volumes[v.Name] = v
	done, err := l.change(v)
	if err != nil {
		return nil, nil, err
	}
	var c change
	c.putVolume(v)
	l.happened(&c, "volume.placed", about{subject: v.Name}, "%s", v.Why)
	if err := l.commit(&c); err != nil {
		return nil, nil, err
	}
	return l.located(v), done, nil
}

func (c *change) putVolume(v *api.VolumePlace) { c.put(keyVolume+v.Name, v) }

// change reserves a volume for one change of it at a time, until done. The caller
// holds mu.
func (l *leader) change(v *api.VolumePlace) (done func(), err error) {
	if v.MovesTo != 0 {
		return nil, status.Errorf(codes.Aborted, "volume %s is moving to another storage monitor: try again when it is there", v.Name)
	}
	return l.reserve(v)
}

// reserve is change also for a volume that moves. The caller holds mu.
func (l *leader) reserve(v *api.VolumePlace) (done func(), err error) {
	if l.changing[v.Name] {
		return nil, status.Errorf(codes.Aborted, "volume %s is being changed by somebody else: try again", v.Name)
	}
	l.changing[v.Name] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.changing, v.Name)
	}, nil
}

// volume returns a volume by name. The caller holds mu.
func (l *leader) volume(name string) (*api.VolumePlace, error) {
	if v := l.volumes[name]; v != nil {
		return v, nil
	}
	return nil, status.Errorf(codes.NotFound, "no volume %q: `splitvm volume ls` lists them, `splitvm volume create %s SIZE` makes it", name, name)
}

// located is a copy of a volume's record with the places of its replicas. The
// caller holds mu.
func (l *leader) located(v *api.VolumePlace) *api.VolumePlace {
	v = proto.CloneOf(v)
	for _, id := range v.Replicas {
		v.Monitors = append(v.Monitors, l.replicaOf(v, id))
	}
	if v.TargetMade {
		v.Monitors = append(v.Monitors, l.replica(v.MovesTo))
		if a := l.moves.volumes[v.Name]; a != nil {
			v.CopiedBytes = a.copied
		}
	}
	return v
}

func (l *leader) getVolume(name string) (*api.VolumePlace, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, err := l.volume(name)
	if err != nil {
		return nil, err
	}
	return l.located(v), nil
}

func (l *leader) listVolumes() *api.ListVolumesResponse {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &api.ListVolumesResponse{}
	for _, name := range slices.Sorted(maps.Keys(l.volumes)) {
		r.Volumes = append(r.Volumes, l.located(l.volumes[name]))
	}
	return r
}

// forgetVolume gives the places back. The caller holds mu.
func (l *leader) forgetVolume(v *api.VolumePlace, format string, args ...any) error {
	for _, o := range v.Replicas {
		l.pools[api.Role_ROLE_STORAGE].Release(place.ID(o), place.Amount{v.Bytes})
	}
	if v.MovesTo != 0 {
		l.pools[api.Role_ROLE_STORAGE].Release(place.ID(v.MovesTo), place.Amount{v.Bytes})
	}
	var c change
	delete(l.volumes, v.Name)
	c.remove(keyVolume + v.Name)
	l.happened(&c, "volume.removed", about{subject: v.Name}, format, args...)
	return l.commit(&c)
}
