package global

import (
	"cmp"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"splitvm/monitors/global/place"
	"splitvm/remote"
	"splitvm/remote/api"
)

// placeBranch promises room for a branch at the monitors of its origin.
func (l *leader) placeBranch(in *api.BranchVolumeRequest) (origin, v *api.VolumePlace, done func(), err error) {
	if !nameOK(in.NewName) {
		return nil, nil, nil, status.Errorf(codes.InvalidArgument, "volume %q: give a name of letters, digits, '-', '_' and '.'", in.NewName)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	o, err := l.volume(in.Name)
	if err != nil {
		return nil, nil, nil, err
	}
	if o.State != api.VolumeState_VOLUME_STATE_READY {
		return nil, nil, nil, status.Errorf(codes.FailedPrecondition, "volume %s is not whole yet", o.Name)
	}
	keep, err := l.change(o) // it stays where it is meanwhile
	if err != nil {
		return nil, nil, nil, err
	}
	v, whole, err := l.again(in.NewName, in.RequestId)
	if v == nil && err == nil {
		v, whole, err = l.newBranch(in, o)
	}
	if err != nil {
		delete(l.changing, o.Name)
		return nil, nil, nil, err
	}
	return l.located(o), v, func() { keep(); whole() }, nil
}

// newBranch writes the record of a branch. The caller holds mu.
func (l *leader) newBranch(in *api.BranchVolumeRequest, o *api.VolumePlace) (*api.VolumePlace, func(), error) {
	v := &api.VolumePlace{Name: in.NewName, Bytes: o.Bytes, Replicas: o.Replicas, Origin: o.Name, ReadOnly: in.ReadOnly,
		RequestId: in.RequestId, Why: "where its origin " + o.Name + " is, with which it shares blocks"}
	for _, m := range v.Replicas {
		l.pools[api.Role_ROLE_STORAGE].Promise(place.ID(m), place.Amount{v.Bytes})
	}
	return l.newVolume(v)
}

// unused reserves a volume that no vNode uses for a change.
func (l *leader) unused(name string, reserve func(*api.VolumePlace) (func(), error)) (*api.VolumePlace, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, err := l.volume(name)
	if err != nil {
		return nil, nil, err
	}
	if user := l.inUse(name, false); user != nil {
		return nil, nil, status.Errorf(codes.FailedPrecondition, "vNode %s uses volume %s: `splitvm stop %s` first", user.Spec.Name, name, user.Spec.Name)
	}
	done, err := reserve(v)
	return l.located(v), done, err
}

// wholeBlocks checks the size of a volume and rounds it up.
func wholeBlocks(name string, bytes uint64) (uint64, error) {
	if bytes == 0 || bytes > maxVolume {
		return 0, status.Errorf(codes.InvalidArgument, "volume %s of %d bytes: give a size up to %d TiB", name, bytes, uint64(maxVolume)>>40)
	}
	return (bytes + remote.BlockSize - 1) / remote.BlockSize * remote.BlockSize, nil
}

// resized notes the size that a volume has now. One whose replicas failed to change
// keeps the size that it had: the same request again makes them equal.
func (l *leader) resized(v *api.VolumePlace, bytes uint64, err error) (*api.VolumePlace, error) {
	if err != nil {
		return nil, status.Errorf(replicaCode(err), "resize volume %s: %v", v.Name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, nerr := l.volume(v.Name)
	if nerr != nil {
		return nil, nerr
	}
	for _, m := range now.Replicas {
		l.pools[api.Role_ROLE_STORAGE].Release(place.ID(m), place.Amount{now.Bytes})
		l.pools[api.Role_ROLE_STORAGE].Promise(place.ID(m), place.Amount{bytes})
	}
	now.Bytes = bytes
	var c change
	c.putVolume(now)
	l.happened(&c, "volume.resized", about{subject: v.Name}, "%d MiB", bytes>>20)
	return l.located(now), l.commit(&c)
}

// attachable fails where a vNode can't have its volumes: one vNode writes a volume at
// a time. The caller holds mu.
func (l *leader) attachable(v *api.VNode) error {
	for _, m := range v.Spec.Volumes {
		x, err := l.volume(m.Name)
		if err != nil {
			return err
		}
		if x.State != api.VolumeState_VOLUME_STATE_READY || l.changing[m.Name] {
			return status.Errorf(codes.FailedPrecondition, "volume %s is being made or changed", m.Name)
		}
		if len(l.left(x)) == 0 {
			return status.Errorf(codes.FailedPrecondition, "all replicas of volume %s are at monitors that are lost: `splitvm volume inspect %s`", m.Name, m.Name)
		}
		if len(l.toForsake(x)) > 0 && !m.ReadOnly && !x.ReadOnly {
			return status.Errorf(codes.FailedPrecondition, "volume %s: %s", m.Name, cmp.Or(l.whyUnrepaired(x), "its replicas that are left are being told to go on without the lost one: try again in a moment"))
		}
		if user := l.inUse(m.Name, true); user != nil && !m.ReadOnly && !x.ReadOnly {
			return status.Errorf(codes.FailedPrecondition, "vNode %s writes volume %s: stop it first, or have the volume read-only (--volume %s,ro)", user.Spec.Name, m.Name, m.Name)
		}
	}
	return nil
}

// attach reserves a vNode's volumes for it. A writer that is still noted was lost,
// and may be alive: it is cut off. The caller holds mu.
func (l *leader) attach(c *change, v *api.VNode) {
	for _, m := range v.Spec.Volumes {
		if x := l.volumes[m.Name]; !m.ReadOnly && !x.ReadOnly {
			x.Fence, x.Writer = x.Fence || x.Writer != 0, v.Id
			c.putVolume(x)
		}
	}
}

// detach gives a vNode's volumes back after its end. One that was lost keeps them
// noted, so that the next writer cuts it off. The caller holds mu.
func (l *leader) detach(c *change, v *api.VNode) {
	for _, m := range v.Spec.Volumes {
		if x := l.volumes[m.Name]; x != nil && x.Writer == v.Id && v.State != api.VNodeState_VNODE_STATE_LOST {
			x.Writer, x.Fence = 0, false
			c.putVolume(x)
		}
	}
}

// volumesOf tells where a vNode's volumes are. The caller holds mu.
func (l *leader) volumesOf(v *api.VNode) []*api.VolumePlace {
	var list []*api.VolumePlace
	for _, m := range v.Spec.Volumes {
		if x := l.volumes[m.Name]; x != nil {
			list = append(list, l.located(x))
		} else {
			list = append(list, &api.VolumePlace{Name: m.Name})
		}
	}
	return list
}

// settle makes a storage monitor that came (back) known as the home of what it has:
// its address.
func (l *leader) settle(c *change, m *member) {
	if m.Role == api.Role_ROLE_STORAGE {
		home := proto.CloneOf(m.Member)
		l.homes[m.Id] = home
		c.put(idKey(keyHome, m.Id), home)
		for _, v := range l.volumes {
			if slices.Contains(v.VotedOut, m.Id) {
				v.VotedOut = without(v.VotedOut, m.Id) // it may become a member again
				c.putVolume(v)
			}
		}
	}
}
