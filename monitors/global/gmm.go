package global

import (
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"splitvm/monitors/global/place"
	"splitvm/remote"
	"splitvm/remote/api"
)

// maxIndices bounds one request.
const maxIndices = 1 << 14

// placeVRegions implements api.VRegionsServer.
func (l *leader) placeVRegions(in *api.PlaceVRegionsRequest) (*api.PlaceVRegionsResponse, error) {
	if len(in.Indices) > maxIndices || in.Bytes == 0 || in.Bytes > maxVRegion {
		return nil, status.Errorf(codes.InvalidArgument, "%d vRegions of %d bytes: at most %d of 1 GiB", len(in.Indices), in.Bytes, maxIndices)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.vnodes[in.Vnode]
	if v == nil || v.Run != in.Run || !active(v) {
		return nil, status.Errorf(codes.FailedPrecondition, "run %d of vNode %d is over", in.Run, in.Vnode)
	}
	placed := map[uint32]*api.VRegion{}
	for _, r := range l.vregions[v.Id] {
		placed[r.Index] = r
	}
	var c change
	answer := &api.PlaceVRegionsResponse{}
	for n := range in.Indices {
		// Guests use the same vRegions most: each vNode begins with another one, so
		// that those are not all at one monitor.
		i := in.Indices[(uint64(n)+v.Id)%uint64(len(in.Indices))]
		if placed[i] != nil {
			continue
		}
		r, err := l.placeVRegion(&c, v, i, in)
		if err != nil {
			l.undo(&c, v.Id)
			return nil, err
		}
		placed[i] = r
	}
	for _, i := range in.Indices {
		answer.Vregions = append(answer.Vregions, proto.CloneOf(placed[i]))
	}
	if len(c.ops) > 0 {
		if err := l.commit(&c); err != nil {
			return nil, err
		}
	}
	return answer, l.addOwners(answer)
}

// placeVRegion finds owners for one vRegion.
func (l *leader) placeVRegion(c *change, v *api.VNode, index uint32, in *api.PlaceVRegionsRequest) (*api.VRegion, error) {
	d, err := l.pools[api.Role_ROLE_MEMORY].Place(place.Request{Need: place.Amount{in.Bytes}, Replicas: max(1, int(in.Replicas))})
	if err != nil {
		return nil, status.Errorf(codes.ResourceExhausted, "place vRegion %d (%d MiB) of vNode %s: %v", index, in.Bytes>>20, v.Spec.Name, err)
	}
	r := &api.VRegion{Id: l.rack<<countBits | l.next(c, "vregion"), Vnode: v.Id, Index: index, Bytes: in.Bytes, Epoch: 1, Why: d.Why}
	for _, m := range d.Members {
		r.Owners = append(r.Owners, uint64(m))
	}
	l.vregions[v.Id] = append(l.vregions[v.Id], r)
	l.known[r.Id] = r
	c.put(idKey(keyRegion, r.Id), r)
	l.log.Debug("vregion.placed", "vID", v.Id, "vRegion", remote.VRegionID(r.Id).String(), "index", index, "owners", r.Owners, "why", r.Why)
	return r, nil
}

// memoryNeed is what a vNode's vRegions may come to: each is promised as a whole.
func memoryNeed(s *api.VNodeSpec) uint64 {
	return (s.MemoryBytes + s.VregionBytes - 1) / s.VregionBytes * s.VregionBytes
}

// memoryLeft is what memory monitors can still be promised, and how much of that is kept
// for the vNodes that run: their vRegions are placed when they are first written to, and
// then there is to be room. The caller holds mu.
func (l *leader) memoryLeft() (free, kept uint64) {
	for _, v := range l.vnodes {
		if !active(v) {
			continue
		}
		placed := uint64(0)
		for _, r := range l.vregions[v.Id] {
			placed += r.Bytes
		}
		kept += max(memoryNeed(v.Spec), placed) - placed
	}
	return l.pools[api.Role_ROLE_MEMORY].Free()[0], kept
}

// roomForMemory tells whether the memory monitors can be promised all that a vNode may
// come to need. The caller holds mu.
func (l *leader) roomForMemory(v *api.VNode) error {
	need := memoryNeed(v.Spec)
	free, kept := l.memoryLeft()
	if need+kept > free {
		return status.Errorf(codes.ResourceExhausted, "vNode %s may need %d MiB of memory: the memory monitors can be promised %d MiB more, of which %d MiB are for what vNodes that run may still need: "+
			"start another one with `%s`, stop vNodes, or give the global monitors a higher --memory-overcommit", v.Spec.Name, need>>20, free>>20, kept>>20, startAnother(api.Role_ROLE_MEMORY))
	}
	return nil
}

// undo takes back the vRegions of a change that is not written.
func (l *leader) undo(c *change, vnode uint64) {
	written := map[string]bool{}
	for _, op := range c.ops {
		written[string(op.KeyBytes())] = true
	}
	l.vregions[vnode] = slices.DeleteFunc(l.vregions[vnode], func(r *api.VRegion) bool {
		if !written[idKey(keyRegion, r.Id)] {
			return false
		}
		l.release(r)
		return true
	})
}

// release gives back what is promised for a vRegion.
func (l *leader) release(r *api.VRegion) {
	for _, o := range r.Owners {
		l.pools[api.Role_ROLE_MEMORY].Release(place.ID(o), place.Amount{r.Bytes})
	}
	if r.Target != 0 {
		l.pools[api.Role_ROLE_MEMORY].Release(place.ID(r.Target), place.Amount{r.Bytes})
	}
	delete(l.known, r.Id)
	delete(l.moves.wanted, r.Id)
	delete(l.moves.late, r.Id)
}

// freeVRegions gives a vNode's memory back: owners learn it with their next
// heartbeat. The caller holds mu.
func (l *leader) freeVRegions(c *change, vnode uint64) int {
	list := l.vregions[vnode]
	for _, r := range list {
		l.release(r)
		c.remove(idKey(keyRegion, r.Id))
	}
	delete(l.vregions, vnode)
	return len(list)
}

// addOwners tells where the owners are.
func (l *leader) addOwners(answer *api.PlaceVRegionsResponse) error {
	seen := map[uint64]bool{}
	for _, r := range answer.Vregions {
		for _, id := range r.Owners {
			m := l.members[id]
			if m == nil {
				return status.Errorf(codes.FailedPrecondition, "memory monitor %d, an owner of vRegion %#x, is gone", id, r.Id)
			}
			if !seen[id] {
				seen[id] = true
				answer.Owners = append(answer.Owners, &api.Owner{Id: id, Name: m.Name, Data: m.Data})
			}
		}
	}
	return nil
}

func (l *leader) listVRegions(ref string) (*api.ListVRegionsResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := slices.Sorted(maps.Keys(l.vregions))
	if ref != "" {
		v, err := l.find(ref)
		if err != nil {
			return nil, err
		}
		ids = []uint64{v.Id}
	}
	r := &api.ListVRegionsResponse{}
	for _, id := range ids {
		for _, x := range slices.SortedFunc(slices.Values(l.vregions[id]), byIndex) {
			r.Vregions = append(r.Vregions, l.describe(x))
		}
	}
	return r, nil
}

// describe is a vRegion with what its owners have told of it, each of which has all
// of its lines. The caller holds mu.
func (l *leader) describe(r *api.VRegion) *api.VRegion {
	r = proto.CloneOf(r)
	for _, o := range r.Owners {
		if m := l.members[o]; m != nil {
			r.HeldBytes = max(r.HeldBytes, m.bytes[r.Id])
		}
	}
	return r
}
