package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"splitvm/remote/api"
)

// A volume of the rack comes to its VMM as it was asked for, with its places; what
// is read-only is never stolen.
func TestVolumeArg(t *testing.T) {
	at := []*api.Replica{{Data: []string{"10.0.0.9:7080", "unix:/a"}}, {Name: "no address"}, {Data: []string{"[::1]:7080"}}}
	for _, tt := range []struct {
		mount *api.VolumeMount
		place *api.VolumePlace
		want  volumeOption
	}{
		{&api.VolumeMount{Name: "db", Mount: "/srv"}, &api.VolumePlace{Monitors: at},
			volumeOption{name: "db", mount: "/srv", serial: "db", at: []string{"10.0.0.9:7080", "[::1]:7080"}}},
		{&api.VolumeMount{Name: "db", Serial: "s"}, &api.VolumePlace{Monitors: at[:1], Fence: true},
			volumeOption{name: "db", serial: "s", steal: true, at: []string{"10.0.0.9:7080"}}},
		{&api.VolumeMount{Name: "db", ReadOnly: true}, &api.VolumePlace{Fence: true}, volumeOption{name: "db", serial: "db", readOnly: true}},
		{&api.VolumeMount{Name: "db", CacheBytes: 64 << 20}, &api.VolumePlace{Fence: true}, volumeOption{name: "db", serial: "db", steal: true, cache: 64 << 20}},
		{&api.VolumeMount{Name: "s"}, &api.VolumePlace{ReadOnly: true}, volumeOption{name: "s", serial: "s", readOnly: true}},
	} {
		arg := volumeArg(tt.mount, tt.place)
		got, err := parseVolume(arg)
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(volumeOption{})); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", arg, err, diff)
		}
	}
}
