package global

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote"
	"splitvm/remote/api"
	"splitvm/remote/volumes"
)

// replicaTime bounds a change at all of a volume's monitors.
const replicaTime = 20 * time.Second

// replica is where a storage member is. The caller holds mu.
func (l *leader) replica(member uint64) *api.Replica {
	r := &api.Replica{Member: member, Away: l.members[member] == nil, Lost: l.removed(member), Name: l.memberName(member)}
	if home := l.homes[member]; home != nil {
		r.Name, r.Data = home.Name, home.Data
	}
	return r
}

// replicaOf is replica without the address of one that is given up for the volume, or at
// whose address another monitor is now. The caller holds mu.
func (l *leader) replicaOf(v *api.VolumePlace, member uint64) *api.Replica {
	r := l.replica(member)
	switch {
	case !r.Away:
	case slices.Contains(v.GivenUp, member):
		r.Lost, r.Data = true, nil
	case l.taken(r):
		r.Data = nil
	}
	return r
}

// taken tells whether a storage monitor is at the address of one that is away. The caller
// holds mu.
func (l *leader) taken(r *api.Replica) bool {
	for _, m := range l.members {
		if m.Role == api.Role_ROLE_STORAGE && len(m.Data) > 0 && m.Data[0] == address(r) {
			return true
		}
	}
	return false
}

// address is where a replica is, the best of its addresses; empty: nobody is told.
func address(r *api.Replica) string {
	if len(r.Data) == 0 {
		return ""
	}
	return r.Data[0]
}

// eachReplica calls do for one monitor of a volume after the other. mu is not held.
func eachReplica(ctx context.Context, v *api.VolumePlace, do func(context.Context, remote.Volumes) error) error {
	ctx, cancel := context.WithTimeout(ctx, replicaTime)
	defer cancel()
	var errs []error
	for _, r := range v.Monitors {
		errs = append(errs, atReplica(ctx, r, do))
	}
	return errors.Join(errs...)
}

func atReplica(ctx context.Context, r *api.Replica, do func(context.Context, remote.Volumes) error) error {
	if r.Lost {
		return fmt.Errorf("storage monitor %s (member %d) is lost, and its replica not made elsewhere yet: %w", r.Name, r.Member, remote.Disconnected)
	}
	if len(r.Data) == 0 {
		return fmt.Errorf("storage monitor %s (member %d) has no address: %w", r.Name, r.Member, remote.Disconnected)
	}
	m, err := volumes.Dial(r.Data[0])
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, m), m.Close())
}

// makeReplicas makes a volume that was placed at all its monitors, or takes it
// back.
func (l *leader) makeReplicas(ctx context.Context, v *api.VolumePlace, create func(context.Context, remote.Volumes) (remote.VolumeInfo, error)) (*api.VolumePlace, error) {
	err := eachReplica(ctx, v, func(ctx context.Context, m remote.Volumes) error {
		_, err := create(ctx, m)
		return unlessMade(ctx, m, v, err)
	})
	if err != nil {
		err = errors.Join(err, deleteReplicas(context.WithoutCancel(ctx), v))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.volumes[v.Name]
	if now == nil || now.Id != v.Id {
		return nil, status.Errorf(codes.Aborted, "volume %s was removed meanwhile", v.Name)
	}
	if err != nil {
		return nil, errors.Join(status.Errorf(replicaCode(err), "make volume %s: %v", v.Name, err), l.forgetVolume(now, "not made: %v", err))
	}
	now.State = api.VolumeState_VOLUME_STATE_READY
	var c change
	c.putVolume(now)
	l.happened(&c, "volume.created", about{subject: v.Name}, "%d MiB, %d replicas", v.Bytes>>20, len(v.Replicas))
	return l.located(now), l.commit(&c)
}

// unlessMade is the outcome of making a replica: one that an earlier try made counts.
func unlessMade(ctx context.Context, m remote.Volumes, v *api.VolumePlace, err error) error {
	if remote.KindOf(err) == remote.VolumeExists {
		if old, ierr := m.InspectVolume(ctx, v.Name); ierr == nil && uint64(old.ID) == v.Id {
			return nil
		}
	}
	return err
}

// deleteReplicas deletes a volume where it is. Another one of its name is left
// alone.
func deleteReplicas(ctx context.Context, v *api.VolumePlace) error {
	return eachReplica(ctx, v, func(ctx context.Context, m remote.Volumes) error {
		old, err := m.InspectVolume(ctx, v.Name)
		if remote.KindOf(err) == remote.NoVolume || err == nil && uint64(old.ID) != v.Id {
			return nil
		}
		return errors.Join(err, m.DeleteVolume(ctx, v.Name))
	})
}

// replicaCode is what a storage monitor's error is for who asked the GSM. It is not
// UNAVAILABLE, upon which a client would ask the next global monitor.
func replicaCode(err error) codes.Code {
	switch remote.KindOf(err) {
	case remote.Full:
		return codes.ResourceExhausted
	case remote.VolumeExists:
		return codes.AlreadyExists
	case remote.Range:
		return codes.InvalidArgument
	}
	return codes.FailedPrecondition
}

// branchVolume implements api.VolumesServer: a branch is where its origin is, for
// it shares blocks with that.
func (l *leader) branchVolume(ctx context.Context, in *api.BranchVolumeRequest) (*api.VolumePlace, error) {
	origin, v, done, err := l.placeBranch(in)
	if err != nil {
		return nil, err
	}
	defer done()
	if v.State == api.VolumeState_VOLUME_STATE_READY {
		return v, nil
	}
	if err := sameReplicas(ctx, origin); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		return nil, errors.Join(status.Errorf(codes.FailedPrecondition, "%v", err), l.forgetVolume(l.volumes[v.Name], "not made: %v", err))
	}
	return l.makeReplicas(ctx, v, func(ctx context.Context, m remote.Volumes) (remote.VolumeInfo, error) {
		if in.ReadOnly {
			return m.SnapshotVolume(ctx, in.Name, remote.VolumeID(v.Id), in.NewName)
		}
		return m.CloneVolume(ctx, in.Name, remote.VolumeID(v.Id), in.NewName)
	})
}

// sameReplicas fails where the replicas of a volume may differ: where one was away,
// or the last writer did not end in order.
func sameReplicas(ctx context.Context, v *api.VolumePlace) error {
	if len(v.Replicas) == 1 {
		return nil
	}
	var infos []remote.VolumeInfo
	err := eachReplica(ctx, v, func(ctx context.Context, m remote.Volumes) error {
		i, err := m.InspectVolume(ctx, v.Name)
		infos = append(infos, i)
		return err
	})
	if err != nil {
		return fmt.Errorf("volume %s: all of its replicas are needed: %w", v.Name, err)
	}
	for _, i := range infos {
		if i.Writer || i.Epoch != infos[0].Epoch || i.Epoch > 0 && len(i.Members) != len(infos) {
			return fmt.Errorf("volume %s: its replicas may differ (epochs %d and %d, %d of %d are complete): stop who writes it, or start and stop a vNode with it, which brings them up to date",
				v.Name, i.Epoch, infos[0].Epoch, len(i.Members), len(infos))
		}
	}
	return nil
}

// resizeVolume implements api.VolumesServer.
func (l *leader) resizeVolume(ctx context.Context, in *api.ResizeVolumeRequest) (*api.VolumePlace, error) {
	bytes, err := wholeBlocks(in.Name, in.Bytes)
	if err != nil {
		return nil, err
	}
	v, done, err := l.unused(in.Name, l.change)
	if err != nil {
		return nil, err
	}
	defer done()
	err = eachReplica(ctx, v, func(ctx context.Context, m remote.Volumes) error {
		_, err := m.ResizeVolume(ctx, v.Name, bytes)
		return err
	})
	return l.resized(v, bytes, err)
}

// removeVolume implements api.VolumesServer.
func (l *leader) removeVolume(ctx context.Context, in *api.RemoveVolumeRequest) error {
	reserve := l.change
	if in.Force { // also what moves, for its monitors may be lost for good
		reserve = l.reserve
	}
	v, done, err := l.unused(in.Name, reserve)
	if err != nil {
		return err
	}
	defer done()
	l.mu.Lock()
	for _, id := range v.Leaving {
		v.Monitors = append(v.Monitors, l.replica(id))
	}
	v.Monitors = slices.DeleteFunc(v.Monitors, func(r *api.Replica) bool { return l.removed(r.Member) })
	none := len(l.left(v)) == 0
	l.mu.Unlock()
	if none && !in.Force {
		return status.Errorf(codes.FailedPrecondition, "all replicas of volume %s are at monitors that are lost: `splitvm volume rm --force %s` gives it up; `splitvm monitor rm --cancel` takes a monitor back", v.Name, v.Name)
	}
	err = deleteReplicas(ctx, v)
	if err != nil && !in.Force {
		return status.Errorf(codes.FailedPrecondition, "remove volume %s: %v (`splitvm volume rm --force` forgets it all the same, and leaves what can't be deleted)", v.Name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.volumes[in.Name]
	if now == nil || now.Id != v.Id {
		return nil
	}
	left := ""
	if err != nil {
		left = fmt.Sprintf("by force; left behind: %v", err)
	}
	return l.forgetVolume(now, "%s", left)
}

// inUse tells which vNode that runs has a volume; for writing, if writes is set.
// The caller holds mu.
func (l *leader) inUse(name string, writes bool) *api.VNode {
	for _, v := range l.vnodes {
		if active(v) && slices.ContainsFunc(v.Spec.Volumes, func(m *api.VolumeMount) bool { return m.Name == name && !(writes && m.ReadOnly) }) {
			return v
		}
	}
	return nil
}
