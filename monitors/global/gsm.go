package global

import (
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
)

// placeVolume implements api.VolumesServer.
func (l *leader) placeVolume(in *api.PlaceVolumeRequest) (*api.VolumePlace, error) {
	n := max(1, int(in.Replicas))
	if !nameOK(in.Name) || in.Bytes == 0 || n > 16 {
		return nil, status.Errorf(codes.InvalidArgument, "volume %q of %d bytes, %d replicas: give a name of letters, digits, '-', '_' and '.', a size, and up to 16 replicas", in.Name, in.Bytes, n)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.volumes[in.Name]; v != nil {
		if v.Bytes != in.Bytes || len(v.Replicas) != n {
			return nil, status.Errorf(codes.AlreadyExists, "volume %s is there already, with %d bytes and %d replicas", v.Name, v.Bytes, len(v.Replicas))
		}
		return proto.CloneOf(v), nil
	}
	d, err := l.pools[api.Role_ROLE_STORAGE].Place(place.Request{Need: place.Amount{in.Bytes}, Replicas: n})
	if err != nil {
		return nil, status.Errorf(codes.ResourceExhausted, "place volume %s (%d MiB): %v", in.Name, in.Bytes>>20, err)
	}
	v := &api.VolumePlace{Name: in.Name, Bytes: in.Bytes, Why: d.Why}
	for _, m := range d.Members {
		v.Replicas = append(v.Replicas, uint64(m))
	}
	var c change
	l.volumes[v.Name] = v
	c.put(keyVolume+v.Name, v)
	l.happened(&c, "volume.placed", about{subject: v.Name}, "%s", d.Why)
	return proto.CloneOf(v), l.commit(&c)
}

// forgetVolume implements api.VolumesServer.
func (l *leader) forgetVolume(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.volumes[name]
	if v == nil {
		return status.Errorf(codes.NotFound, "no volume %q", name)
	}
	for _, o := range v.Replicas {
		l.pools[api.Role_ROLE_STORAGE].Release(place.ID(o), place.Amount{v.Bytes})
	}
	var c change
	delete(l.volumes, name)
	c.remove(keyVolume + name)
	l.happened(&c, "volume.removed", about{subject: name}, "")
	return l.commit(&c)
}

func (l *leader) listVolumes() *api.ListVolumePlacesResponse {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &api.ListVolumePlacesResponse{}
	for _, name := range slices.Sorted(maps.Keys(l.volumes)) {
		r.Volumes = append(r.Volumes, proto.CloneOf(l.volumes[name]))
	}
	return r
}
