package global

import (
	"maps"
	"slices"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
)

// evenness is how far from the mean a memory monitor may be before a rebalance takes
// something from it, or gives it something.
const evenness = 0.1

// rebalance implements api.MembersServer.
func (l *leader) rebalance(in *api.RebalanceRequest) (*api.RebalancePlan, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if in.Cancel {
		return l.cancelRebalance()
	}
	steps, members := l.pools[api.Role_ROLE_MEMORY].Rebalance(l.movable(), evenness)
	plan := &api.RebalancePlan{Steps: l.rebalanceSteps()}
	for _, m := range members {
		plan.Members = append(plan.Members, &api.MemberBalance{Member: uint64(m.ID), Name: l.memberName(uint64(m.ID)),
			LimitBytes: m.Limit, PromisedBytes: m.Before, PlannedBytes: m.After})
	}
	var c change
	for _, s := range steps {
		r := l.known[s.Item.ID]
		if in.DryRun {
			plan.Steps = append(plan.Steps, &api.RebalanceStep{Vregion: r.Id, Vnode: r.Vnode, From: r.Owners[0], To: uint64(s.To), Bytes: r.Bytes, Why: s.Why})
			continue
		}
		l.pools[api.Role_ROLE_MEMORY].Promise(s.To, place.Amount{r.Bytes})
		l.aim(&c, r, uint64(s.To), s.Why)
		plan.Steps = append(plan.Steps, rebalanceStep(r))
	}
	if in.DryRun || len(steps) == 0 {
		return plan, nil
	}
	l.happened(&c, "rack.rebalance", about{}, "%d vRegions are to move", len(steps))
	l.moves.nudge()
	return plan, l.commit(&c)
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

// cancelRebalance takes the targets away from what has not begun to move.
func (l *leader) cancelRebalance() (*api.RebalancePlan, error) {
	var c change
	plan := &api.RebalancePlan{}
	for id, r := range l.moves.wanted {
		switch {
		case l.leaving(r):
		case l.moves.active[id] != nil:
			plan.Steps = append(plan.Steps, rebalanceStep(r))
		default:
			l.unaim(&c, r)
			plan.Cancelled++
		}
	}
	if plan.Cancelled == 0 {
		return plan, nil
	}
	l.happened(&c, "rack.rebalance-cancelled", about{}, "%d vRegions stay where they are", plan.Cancelled)
	return plan, l.commit(&c)
}

// listMoves implements api.MembersServer.
func (l *leader) listMoves() *api.ListMovesResponse {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &api.ListMovesResponse{}
	for _, id := range slices.Sorted(maps.Keys(l.moves.wanted)) {
		r.Moves = append(r.Moves, l.moveOf(l.moves.wanted[id]))
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
