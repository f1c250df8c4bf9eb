package global

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/status"

	"splitvm/monitors/global/place"
	"splitvm/remote"
	"splitvm/remote/api"
	"splitvm/remote/blockclient"
)

// A replica of a volume moves in steps, each of which is in the volume's record when
// it has been done:
//
//	moves_from, moves_to   it is to move; there is a promise
//	target_made            there is an empty replica; who opens the volume is given it too
//	                       and brings it up to date. Then the old one is voted out, by
//	                       the vNode that writes the volume, or by the GSM if none has it
//	replicas, leaving      the new one counts, the old one is to be deleted, when its
//	                       monitor is there (the other way round if that failed)
//	nothing                it is
//
// Which replicas are whole is on the storage monitors, never here: a leader or a VMM
// that is lost between two steps leaves what the next one can go on from.

// volumeMove is a replica on its way. Guarded by leader.mu, but for the context.
type volumeMove struct {
	trouble string
	copied  uint64          // bytes that the target has
	ctx     context.Context // ends when the move is cancelled
	stop    context.CancelFunc
}

const maxVolumeMoves = 2 // replicas on their way at once in a rack

// errWait is that a volume can't move yet, for a reason that a drain tells.
var errWait = errors.New("wait")

// moveVolumes begins what can be begun. The caller holds mu.
func (l *leader) moveVolumes() {
	for _, name := range slices.Sorted(maps.Keys(l.volumes)) {
		v := l.volumes[name]
		switch {
		case len(l.moves.volumes) >= maxVolumeMoves:
			return
		case l.atRest(v), l.moves.volumes[name] != nil, l.changing[name], l.whyVolumeWaits(v) != "":
			continue
		}
		a := &volumeMove{}
		a.ctx, a.stop = context.WithCancel(l.ctx)
		l.moves.volumes[name] = a
		l.wg.Go(func() { l.moveVolume(name, a) })
	}
}

// whyVolumeWaits says why a replica can't move now. The caller holds mu.
func (l *leader) whyVolumeWaits(v *api.VolumePlace) string {
	if v.State != api.VolumeState_VOLUME_STATE_READY {
		return fmt.Sprintf("volume %s is being made", v.Name)
	}
	if why := l.whyUnrepaired(v); why != "" {
		return why
	}
	for _, n := range l.vnodes {
		if !active(n) {
			continue
		}
		for _, m := range n.Spec.Volumes {
			switch {
			case m.Name != v.Name || v.ReadOnly && l.lost(v.MovesFrom): // who reads one that is lost goes on with another
			case m.ReadOnly || v.ReadOnly:
				return fmt.Sprintf("vNode %s reads volume %s", n.Spec.Name, v.Name)
			case n.State == api.VNodeState_VNODE_STATE_STARTING:
				return fmt.Sprintf("vNode %s is starting", n.Spec.Name)
			}
		}
	}
	return ""
}

// moveVolume takes the steps that are left, until there are none or one has to wait.
func (l *leader) moveVolume(name string, a *volumeMove) {
	defer func() {
		a.stop()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.moves.volumes, name)
		l.moves.nudge()
	}()
	watching, stop := context.WithCancel(l.ctx)
	defer stop()
	l.wg.Go(func() { l.watchTarget(watching, name, a) })
	for l.ctx.Err() == nil {
		more, err := l.moveStep(a.ctx, name)
		if errors.Is(err, errWait) || err == nil && !more {
			return
		}
		pause := pollTime
		l.mu.Lock()
		a.trouble = ""
		if err != nil {
			a.trouble, pause = fmt.Sprintf("volume %s: %v", name, status.Convert(err).Message()), pauseTime
		}
		l.mu.Unlock()
		select {
		case <-l.ctx.Done():
		case <-time.After(pause):
		}
	}
}

// watchTarget asks the target now and then what it has already, until ctx ends.
func (l *leader) watchTarget(ctx context.Context, name string, a *volumeMove) {
	for tick := time.NewTicker(lookTime); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		l.mu.Lock()
		v, to := l.volumes[name], &api.Replica{}
		if v != nil && v.TargetMade {
			to = l.replica(v.MovesTo)
		}
		l.mu.Unlock()
		if len(to.Data) == 0 || to.Away {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, replicaTime)
		atReplica(asking, to, func(ctx context.Context, m remote.Volumes) error {
			i, err := m.InspectVolume(ctx, name)
			l.mu.Lock()
			defer l.mu.Unlock()
			if err == nil && uint64(i.ID) == v.Id {
				a.copied = i.Used + i.Shared
			}
			return nil // it is only told
		})
		cancel()
	}
}

// moveStep takes the next step of a volume; more tells whether there is one after it,
// or the same again. A step towards the target ends with ctx.
func (l *leader) moveStep(ctx context.Context, name string) (more bool, err error) {
	l.mu.Lock()
	x := l.volumes[name]
	if x == nil || l.atRest(x) {
		l.mu.Unlock()
		return false, nil
	}
	if l.whyVolumeWaits(x) != "" {
		l.mu.Unlock()
		return false, errWait
	}
	v, writer, old := l.located(x), l.inUse(name, true), l.toDelete(x)
	from, to, leaving, lost := l.replicaOf(x, v.MovesFrom), l.replica(v.MovesTo), l.replica(old), l.toForsake(x)
	l.mu.Unlock()
	switch {
	case old != 0:
		return true, l.deleteLeaving(v, leaving)
	case len(lost) > 0:
		return true, l.forsake(ctx, name)
	case !v.TargetMade && to.Away:
		return true, l.volumeNotMoved(v, to, "it is no member of the rack any more")
	case !v.TargetMade && v.Cancelled:
		return true, l.volumeNotMoved(v, to, "cancelled")
	case len(from.Data) == 0 && !from.Away || len(to.Data) == 0:
		return true, fmt.Errorf("storage monitor %s or %s has no address", from.Name, to.Name)
	case v.ReadOnly:
		return true, l.moveSnapshot(ctx, v, from, to)
	case !v.TargetMade:
		return true, l.makeTarget(v, to)
	case writer != nil:
		return true, l.moveAtWriter(v, writer, from, to)
	}
	return true, l.moveUnused(ctx, v, from, to)
}

// atRest tells whether there is nothing to do for a volume. The caller holds mu.
func (l *leader) atRest(v *api.VolumePlace) bool {
	return v.MovesTo == 0 && l.toDelete(v) == 0 && len(l.toForsake(v)) == 0
}

// toDelete is a member that is there and whose replica is to be deleted; 0: none. The
// caller holds mu.
func (l *leader) toDelete(v *api.VolumePlace) uint64 {
	for _, id := range v.Leaving {
		if l.members[id] != nil {
			return id
		}
	}
	return 0
}

// aimVolume promises a place for a replica of a volume at another member. The caller
// holds mu.
func (l *leader) aimVolume(c *change, v *api.VolumePlace, from uint64, why string) error {
	var not, near []place.ID
	for _, id := range v.Leaving {
		not = append(not, place.ID(id))
	}
	for _, id := range v.Replicas {
		not = append(not, place.ID(id))
		for _, m := range l.members {
			if o := l.homes[id]; id != from && o != nil && o.Domain != "" && m.Domain == o.Domain {
				near = append(near, place.ID(m.Id))
			}
		}
	}
	pool, need := l.pools[api.Role_ROLE_STORAGE], place.Amount{v.Bytes}
	d, err := pool.Place(place.Request{Need: need, Replicas: 1, Not: append(near, not...)})
	if err != nil { // one failure domain twice is better than none
		d, err = pool.Place(place.Request{Need: need, Replicas: 1, Not: not})
	}
	if err != nil {
		return err
	}
	v.Move++
	v.MovesFrom, v.MovesTo, v.TargetMade, v.TargetWhy = from, uint64(d.Members[0]), false, why+"; "+d.Why
	c.putVolume(v)
	return nil
}

// makeTarget makes the empty replica.
func (l *leader) makeTarget(v *api.VolumePlace, to *api.Replica) error {
	ctx, cancel := context.WithTimeout(l.ctx, replicaTime)
	defer cancel()
	err := atReplica(ctx, to, func(ctx context.Context, m remote.Volumes) error {
		_, err := m.CreateVolume(ctx, remote.VolumeID(v.Id), v.Name, v.Bytes)
		return unlessMade(ctx, m, v, err)
	})
	if err != nil {
		return l.volumeNotMoved(v, to, err.Error())
	}
	return l.volumeStep(v, func(c *change, now *api.VolumePlace) { now.TargetMade = true })
}

// volumeStep writes a step of a move, if the volume is as it was.
func (l *leader) volumeStep(was *api.VolumePlace, do func(*change, *api.VolumePlace)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.volumes[was.Name]
	if now == nil || now.Id != was.Id || now.MovesTo != was.MovesTo || !slices.Equal(now.Leaving, was.Leaving) {
		return nil
	}
	var c change
	do(&c, now)
	c.putVolume(now)
	return l.commit(&c)
}

// moveAtWriter has the vNode that writes the volume move it.
func (l *leader) moveAtWriter(v *api.VolumePlace, writer *api.VNode, from, to *api.Replica) error {
	var answer *api.MoveVolumeResponse
	err := l.ask(l.ctx, writer.Processor, func(ctx context.Context, p api.ProcessorClient) (err error) {
		answer, err = p.MoveVolume(ctx, &api.MoveVolumeRequest{Vnode: writer.Id, Run: writer.Run, Name: v.Name, Number: v.Move, From: address(from), To: to.Data[0], Cancel: v.Cancelled})
		return err
	})
	switch {
	case err != nil:
		return err
	case answer.State == api.MoveVRegionResponse_STATE_MOVED:
		return l.volumeMoved(v, from, to)
	case answer.State == api.MoveVRegionResponse_STATE_FAILED:
		return l.volumeNotMoved(v, to, answer.Reason)
	}
	return nil
}

// moveUnused moves a replica of a volume that nobody has; nobody can have it
// meanwhile.
func (l *leader) moveUnused(ctx context.Context, v *api.VolumePlace, from, to *api.Replica) error {
	l.mu.Lock()
	if l.inUse(v.Name, false) != nil {
		l.mu.Unlock()
		return nil
	}
	done, err := l.reserve(v)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	defer done()
	var at []string
	for _, r := range v.Monitors {
		if (r.Member != to.Member || !to.Away) && len(r.Data) > 0 {
			at = append(at, r.Data[0])
		}
	}
	x, err := blockclient.Open(l.ctx, blockclient.Config{Monitors: at, Name: v.Name, Log: l.log})
	if err != nil {
		return err
	}
	reason := error(blockclient.ErrNotJoined) // a target that is lost is none, for the others can be opened
	switch {
	case to.Away:
	case v.Cancelled:
		reason = x.Withdraw(l.ctx, address(from), to.Data[0])
	default:
		reason = x.Replace(ctx, address(from), to.Data[0])
	}
	switch err := x.Close(); {
	case err != nil:
		return errors.Join(reason, err) // which are members, the next try sees
	case errors.Is(reason, blockclient.ErrNotJoined):
		return l.volumeNotMoved(v, to, reason.Error())
	case reason != nil:
		return reason
	}
	return l.volumeMoved(v, from, to)
}

// volumeMoved makes the target a replica and has the old one deleted.
func (l *leader) volumeMoved(was *api.VolumePlace, from, to *api.Replica) error {
	return l.volumeStep(was, func(c *change, v *api.VolumePlace) {
		l.pools[api.Role_ROLE_STORAGE].Release(place.ID(from.Member), place.Amount{v.Bytes})
		v.Replicas = slices.Clone(v.Replicas)
		v.Replicas[slices.Index(v.Replicas, from.Member)] = to.Member
		v.Why, v.Leaving = v.TargetWhy, append(slices.Clone(v.Leaving), from.Member)
		v.GivenUp, v.VotedOut = without(v.GivenUp, from.Member), without(v.VotedOut, from.Member)
		v.MovesFrom, v.MovesTo, v.TargetMade, v.TargetWhy, v.Cancelled = 0, 0, false, "", false
		if l.lost(from.Member) {
			l.happened(c, "volume.repaired", about{subject: v.Name}, "%d MiB, at %s instead of %s; %d of %d replicas", v.Bytes>>20, to.Name, from.Name, len(l.left(v)), len(v.Replicas))
			return
		}
		l.happened(c, "volume.moved", about{subject: v.Name}, "%d MiB, from %s to %s", v.Bytes>>20, from.Name, to.Name)
	})
}

// volumeNotMoved gives a target up.
func (l *leader) volumeNotMoved(was *api.VolumePlace, to *api.Replica, reason string) error {
	return l.volumeStep(was, func(c *change, v *api.VolumePlace) {
		l.happened(c, "volume.not-moved", about{subject: v.Name}, "to %s: %s", to.Name, reason)
		l.unaimVolume(v)
		l.moves.lateVolumes[v.Name] = time.Now().Add(failedTime)
	})
}

// unaimVolume takes the target away; a replica that was made there is to be deleted.
// The caller holds mu and writes the volume.
func (l *leader) unaimVolume(v *api.VolumePlace) {
	l.pools[api.Role_ROLE_STORAGE].Release(place.ID(v.MovesTo), place.Amount{v.Bytes})
	if v.TargetMade {
		v.Leaving = append(slices.Clone(v.Leaving), v.MovesTo)
	}
	v.MovesFrom, v.MovesTo, v.TargetMade, v.TargetWhy, v.Cancelled = 0, 0, false, "", false
}

// deleteLeaving deletes a replica that is not needed any more.
func (l *leader) deleteLeaving(v *api.VolumePlace, at *api.Replica) error {
	if err := deleteReplicas(l.ctx, &api.VolumePlace{Id: v.Id, Name: v.Name, Monitors: []*api.Replica{at}}); err != nil {
		return err
	}
	return l.volumeStep(v, func(_ *change, now *api.VolumePlace) {
		now.Leaving = slices.DeleteFunc(slices.Clone(now.Leaving), func(id uint64) bool { return id == at.Member })
	})
}
