package global

import (
	"cmp"
	"maps"
	"slices"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
)

// rebalanceVolumes adds to the plan what replicas of volumes are to move, or takes that
// back, and tells how many begin. The caller holds mu.
func (l *leader) rebalanceVolumes(c *change, in *api.RebalanceRequest, plan *api.RebalancePlan) (began int) {
	pool := l.pools[api.Role_ROLE_STORAGE]
	volumes, items := l.movableVolumes()
	if in.Cancel {
		l.cancelVolumes(c, plan, volumes)
		return 0
	}
	steps, members := pool.Rebalance(items, evenness)
	l.addMembers(plan, members)
	for _, v := range volumes {
		if v.MovesTo != 0 && !l.drains(v.MovesFrom) {
			plan.Steps = append(plan.Steps, replicaStep(v))
		}
	}
	for _, s := range steps {
		v := volumes[s.Item.ID]
		if in.DryRun {
			plan.Steps = append(plan.Steps, &api.RebalanceStep{Volume: v.Name, From: uint64(s.Item.At), To: uint64(s.To), Bytes: v.Bytes, Why: s.Why})
			continue
		}
		pool.Promise(s.To, place.Amount{v.Bytes})
		v.Move++
		v.MovesFrom, v.MovesTo, v.TargetMade, v.TargetWhy = uint64(s.Item.At), uint64(s.To), false, s.Why
		c.putVolume(v)
		plan.Steps = append(plan.Steps, replicaStep(v))
		began++
	}
	return began
}

// movableVolumes are the volumes that move or could, each with the one replica that does
// or that is at the fullest monitor. What shares blocks with another one stays: it would
// be whole wherever it comes to. The caller holds mu.
func (l *leader) movableVolumes() (list []*api.VolumePlace, items []place.Item) {
	shares := map[string]bool{}
	for _, v := range l.volumes {
		if v.Origin != "" {
			shares[v.Name], shares[v.Origin] = true, true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.volumes)) {
		v := l.volumes[name]
		if v.MovesTo == 0 && (shares[name] || l.changing[name] || len(l.left(v)) < max(1, len(v.Replicas)) || l.whyVolumeWaits(v) != "") {
			continue
		}
		at := v.MovesFrom
		if v.MovesTo == 0 {
			at = slices.MaxFunc(v.Replicas, func(a, b uint64) int { return cmp.Compare(l.storageLoad(a), l.storageLoad(b)) })
		}
		item := place.Item{ID: uint64(len(list)), At: place.ID(at), Need: v.Bytes, To: place.ID(v.MovesTo)}
		for _, other := range v.Replicas {
			if other != at {
				item.Apart = append(item.Apart, place.ID(other))
			}
		}
		list, items = append(list, v), append(items, item)
	}
	return list, items
}

// storageLoad is the part of a storage monitor that is promised; -1 if it is not there.
// The caller holds mu.
func (l *leader) storageLoad(id uint64) float64 {
	m := l.members[id]
	if m == nil || m.Capacity.GetDiskBytes() == 0 {
		return -1
	}
	return float64(l.pools[api.Role_ROLE_STORAGE].Promised(place.ID(id))[0]) / float64(m.Capacity.DiskBytes)
}

// drains tells whether a member does not take anything now. The caller holds mu.
func (l *leader) drains(id uint64) bool {
	m := l.members[id]
	return m != nil && m.State != api.MemberState_MEMBER_STATE_UP
}

func replicaStep(v *api.VolumePlace) *api.RebalanceStep {
	return &api.RebalanceStep{Volume: v.Name, From: v.MovesFrom, To: v.MovesTo, Bytes: v.Bytes, Why: v.TargetWhy}
}

// cancelVolumes takes the targets away from volumes that have not begun to move. The
// caller holds mu.
func (l *leader) cancelVolumes(c *change, plan *api.RebalancePlan, list []*api.VolumePlace) {
	for _, v := range list {
		switch {
		case v.MovesTo == 0 || l.drains(v.MovesFrom):
		case l.moves.volumes[v.Name] != nil || v.TargetMade:
			plan.Steps = append(plan.Steps, replicaStep(v))
		default:
			l.keepVolume(c, v)
			plan.Cancelled++
		}
	}
}
