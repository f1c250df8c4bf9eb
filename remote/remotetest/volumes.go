package remotetest

import (
	"context"
	"errors"
	"testing"

	"splitvm/remote"
)

// Volumes checks the contract of remote.Volumes on an empty monitor.
func Volumes(t *testing.T, v remote.Volumes) {
	ctx := context.Background()
	fails := func(what string, err error, kind remote.Kind) {
		t.Helper()
		if !errors.Is(err, kind) {
			t.Errorf("%s: %v, want %v", what, err, kind)
		}
	}
	good := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	info, err := v.CreateVolume(ctx, 11, "one", 1<<20+1)
	good("create", err)
	if info.ID != 11 || info.Name != "one" || info.Size != 1<<20+remote.BlockSize || info.ReadOnly || info.Writer || info.Epoch != 0 {
		t.Errorf("created %+v", info)
	}
	_, err = v.CreateVolume(ctx, 12, "one", 4096)
	fails("create with a name that is taken", err, remote.VolumeExists)
	_, err = v.CreateVolume(ctx, 11, "other", 4096)
	fails("create with an id that is taken", err, remote.VolumeExists)
	for _, name := range []string{"", "-x", "a b", "../x", "x\x00", string(make([]byte, 200))} {
		_, err = v.CreateVolume(ctx, 13, name, 4096)
		fails("create with a bad name", err, remote.Range)
	}
	_, err = v.CreateVolume(ctx, 13, "empty", 0)
	fails("create of 0 bytes", err, remote.Range)
	_, err = v.CreateVolume(ctx, 13, "huge", 1<<60)
	fails("create of 1 EiB", err, remote.Range)
	_, err = v.InspectVolume(ctx, "none")
	fails("inspect of one that is not there", err, remote.NoVolume)

	info, err = v.SnapshotVolume(ctx, "one", 21, "sha256:snap/1")
	good("snapshot", err)
	if !info.ReadOnly || info.Origin != "one" || info.Size != 1<<20+remote.BlockSize {
		t.Errorf("snapshot is %+v", info)
	}
	_, err = v.ResizeVolume(ctx, "sha256:snap/1", 4096)
	fails("resize of a snapshot", err, remote.ReadOnly)
	_, err = v.CloneVolume(ctx, "sha256:snap/1", 31, "two")
	good("clone of a snapshot", err)
	_, err = v.CloneVolume(ctx, "two", 32, "three")
	good("clone of a volume", err)
	_, err = v.CloneVolume(ctx, "none", 33, "four")
	fails("clone of one that is not there", err, remote.NoVolume)
	_, err = v.CloneVolume(ctx, "two", 34, "three")
	fails("clone to a name that is taken", err, remote.VolumeExists)

	info, err = v.ResizeVolume(ctx, "two", 8<<20)
	good("grow", err)
	if info.Size != 8<<20 {
		t.Errorf("grown to %d", info.Size)
	}
	_, err = v.ResizeVolume(ctx, "two", 4096)
	good("shrink", err)
	_, err = v.ScrubVolume(ctx, "two")
	good("scrub", err)
	_, err = v.ScrubVolume(ctx, "none")
	fails("scrub of one that is not there", err, remote.NoVolume)

	list, err := v.ListVolumes(ctx)
	good("list", err)
	var names []string
	for _, l := range list {
		names = append(names, l.Name)
	}
	if len(names) != 4 || names[0] != "one" || names[1] != "sha256:snap/1" || names[2] != "three" || names[3] != "two" {
		t.Errorf("list is %q", names)
	}
	for _, n := range []string{"sha256:snap/1", "one", "three", "two"} {
		good("delete "+n, v.DeleteVolume(ctx, n))
	}
	fails("second delete", v.DeleteVolume(ctx, "one"), remote.NoVolume)
	if list, err := v.ListVolumes(ctx); err != nil || len(list) != 0 {
		t.Errorf("after all was deleted: %v, %v", list, err)
	}
}
