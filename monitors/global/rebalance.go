package global

import (
	"cmp"
	"maps"
	"slices"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
)

// evenness is how far from the mean a monitor may be before a rebalance takes
// something from it, or gives it something.
const evenness = 0.1

// rebalance implements api.MembersServer.
func (l *leader) rebalance(in *api.RebalanceRequest) (*api.RebalancePlan, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	plan, began := &api.RebalancePlan{}, 0
	var c change
	if in.Role != api.Role_ROLE_STORAGE {
		began += l.rebalanceVRegions(&c, in, plan)
	}
	if in.Role != api.Role_ROLE_MEMORY {
		began += l.rebalanceVolumes(&c, in, plan)
	}
	slices.SortStableFunc(plan.Members, func(a, b *api.MemberBalance) int { return cmp.Compare(a.Member, b.Member) })
	switch {
	case in.Cancel && plan.Cancelled > 0:
		l.happened(&c, "rack.rebalance-cancelled", about{}, "%d vRegions and volumes stay where they are", plan.Cancelled)
	case !in.Cancel && began > 0:
		l.happened(&c, "rack.rebalance", about{}, "%d vRegions and volumes are to move", began)
		l.moves.nudge()
	default:
		return plan, nil
	}
	return plan, l.commit(&c)
}

// addMembers adds what a plan makes of the members of a role. The caller holds mu.
func (l *leader) addMembers(plan *api.RebalancePlan, members []place.Balance) {
	for _, m := range members {
		plan.Members = append(plan.Members, &api.MemberBalance{Member: uint64(m.ID), Name: l.memberName(uint64(m.ID)),
			LimitBytes: m.Limit, PromisedBytes: m.Before, PlannedBytes: m.After})
	}
}

// rebalanceVRegions adds to the plan what vRegions are to move, or takes that back, and
// tells how many begin. The caller holds mu.
func (l *leader) rebalanceVRegions(c *change, in *api.RebalanceRequest, plan *api.RebalancePlan) int {
	if in.Cancel {
		l.cancelVRegions(c, plan)
		return 0
	}
	steps, members := l.pools[api.Role_ROLE_MEMORY].Rebalance(l.movable(), evenness)
	plan.Steps = append(plan.Steps, l.rebalanceSteps()...)
	l.addMembers(plan, members)
	for _, s := range steps {
		r := l.known[s.Item.ID]
		if in.DryRun {
			plan.Steps = append(plan.Steps, &api.RebalanceStep{Vregion: r.Id, Vnode: r.Vnode, From: r.Owners[0], To: uint64(s.To), Bytes: r.Bytes, Why: s.Why})
			continue
		}
		l.pools[api.Role_ROLE_MEMORY].Promise(s.To, place.Amount{r.Bytes})
		l.aim(c, r, uint64(s.To), s.Why)
		plan.Steps = append(plan.Steps, rebalanceStep(r))
	}
	if in.DryRun {
		return 0
	}
	return len(steps)
}

// movable lists the vRegions that can move or do already. The caller holds mu.
func (l *leader) movable() []place.Item {
	items := make([]place.Item, 0, len(l.known))
	for _, r := range l.known {
		if len(r.Owners) == 1 {
			items = append(items, place.Item{ID: r.Id, At: place.ID(r.Owners[0]), Need: r.Bytes, To: place.ID(r.Target)})
		}
	}
	return items
}

// rebalanceSteps lists what moves to even out, and not away from a monitor that is
// being drained. The caller holds mu.
func (l *leader) rebalanceSteps() (list []*api.RebalanceStep) {
	for _, id := range slices.Sorted(maps.Keys(l.moves.wanted)) {
		if r := l.moves.wanted[id]; !l.leaving(r) {
			list = append(list, rebalanceStep(r))
		}
	}
	return list
}

func rebalanceStep(r *api.VRegion) *api.RebalanceStep {
	return &api.RebalanceStep{Vregion: r.Id, Vnode: r.Vnode, From: r.Owners[0], To: r.Target, Bytes: r.Bytes, Why: r.TargetWhy, Epoch: r.TargetEpoch}
}

// leaving tells whether a vRegion's owner is being drained. The caller holds mu.
func (l *leader) leaving(r *api.VRegion) bool {
	m := l.members[r.Owners[0]]
	return m != nil && m.State != api.MemberState_MEMBER_STATE_UP
}

// cancelVRegions takes the targets away from vRegions that have not begun to move. The
// caller holds mu.
func (l *leader) cancelVRegions(c *change, plan *api.RebalancePlan) {
	for id, r := range l.moves.wanted {
		switch {
		case l.leaving(r):
		case l.moves.active[id] != nil:
			plan.Steps = append(plan.Steps, rebalanceStep(r))
		default:
			l.unaim(c, r)
			plan.Cancelled++
		}
	}
}

// listMoves implements api.MembersServer.
func (l *leader) listMoves() *api.ListMovesResponse {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &api.ListMovesResponse{}
	for _, id := range slices.Sorted(maps.Keys(l.moves.wanted)) {
		r.Moves = append(r.Moves, l.moveOf(l.moves.wanted[id]))
	}
	for _, name := range slices.Sorted(maps.Keys(l.volumes)) {
		if v := l.volumes[name]; v.MovesTo != 0 {
			r.Volumes = append(r.Volumes, &api.VolumeMove{Volume: name, From: v.MovesFrom, To: v.MovesTo, Active: v.TargetMade})
		}
	}
	return r
}

// moveOf describes a vRegion that has a target. The caller holds mu.
func (l *leader) moveOf(r *api.VRegion) *api.VRegionMove {
	m := &api.VRegionMove{Vregion: r.Id, Vnode: r.Vnode, From: r.Owners[0], To: r.Target}
	if a := l.moves.active[r.Id]; a != nil {
		m.Active, m.CopiedBytes, m.LeftBytes = true, a.copied, a.left
	}
	return m
}
