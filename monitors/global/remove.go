package global

import (
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"splitvm/remote/api"
)

// removeMember implements api.MembersServer.
func (l *leader) removeMember(in *api.RemoveMemberRequest) (*api.DrainStatus, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	home, err := l.findAbsent(in.Member)
	if err != nil {
		return nil, err
	}
	var c change
	m := &member{Member: home}
	was := l.removed(home.Id)
	switch {
	case in.Cancel && !was:
		return nil, status.Errorf(codes.FailedPrecondition, "storage monitor %s was not removed", home.Name)
	case in.Cancel:
		l.takeBack(&c, m)
	default:
		home.State, home.AcceptLoss = api.MemberState_MEMBER_STATE_REMOVED, home.AcceptLoss || in.AcceptLoss
		if !was {
			l.happened(&c, "member.removed", m.about(), "has replicas of %d volumes", len(l.volumesAt(home.Id)))
			l.tellLost(&c, m)
		}
		if !was || in.AcceptLoss {
			clear(l.moves.unsure) // and ask them once more
		}
		l.planRepairs(&c)
	}
	c.put(idKey(keyHome, home.Id), home)
	if err := l.commit(&c); err != nil {
		return nil, err
	}
	l.moves.nudge()
	return l.drainStatus(m), nil
}

// takeBack lets a storage monitor that was removed come back. The caller holds mu.
func (l *leader) takeBack(c *change, m *member) {
	m.State, m.AcceptLoss = api.MemberState_MEMBER_STATE_AWAY, false
	for _, v := range l.volumesAt(m.Id) {
		if v.MovesFrom == m.Id {
			l.keepVolume(c, v)
		}
	}
	l.happened(c, "member.remove-cancelled", m.about(), "may come back")
}

// tellLost notes the volumes that have no replica left. The caller holds mu.
func (l *leader) tellLost(c *change, m *member) {
	for _, v := range l.volumesAt(m.Id) {
		if len(l.left(v)) == 0 {
			l.happened(c, "volume.lost", about{subject: v.Name}, "its last replica was at %s", m.Name)
		}
	}
}

// findAbsent returns the storage monitor of a name or id that is no member; of several of
// a name the one that was not removed. The caller holds mu.
func (l *leader) findAbsent(ref string) (*api.Member, error) {
	var away, removed []*api.Member
	for _, id := range slices.Sorted(maps.Keys(l.homes)) {
		switch h := l.homes[id]; {
		case !is(h, ref) || l.members[id] != nil:
		case l.removed(id):
			removed = append(removed, h)
		default:
			away = append(away, h)
		}
	}
	found := away
	if len(found) == 0 {
		found = removed
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(found) > 1 {
		return nil, status.Errorf(codes.InvalidArgument, "%d storage monitors called %q are away; give the id of the one, which `splitvm monitor ls` shows", len(found), ref)
	}
	for _, m := range l.members {
		switch {
		case !is(m.Member, ref):
		case m.Role != api.Role_ROLE_STORAGE:
			return nil, status.Errorf(codes.FailedPrecondition, "%s %s is a member of the rack; when it is stopped there is nothing to remove: only storage monitors are remembered", roleName(m.Role), m.Name)
		default:
			return nil, status.Errorf(codes.FailedPrecondition, "storage monitor %s is up: `splitvm monitor drain %s` moves what it has to others. One that has died is away when its lease has ended, within %v", m.Name, m.Name, l.cfg.Lease)
		}
	}
	return nil, status.Errorf(codes.NotFound, "the rack had no storage monitor %q; `splitvm monitor ls` lists them, also those that are away", ref)
}

// refuse is what a storage monitor is told that was removed and is back.
func refuse(home *api.Member) error {
	return status.Errorf(codes.PermissionDenied, "storage monitor %s (member %d) was removed from the rack, and its replicas of volumes do not count any more. "+
		"To have it join as a new one, start it with an empty --data directory. To have it back as it was, with what has not been repaired elsewhere: `splitvm monitor rm --cancel %d`, then start it again",
		home.Name, home.Id, home.Id)
}

// absent are the storage monitors that are no members and that volumes have replicas at.
// The caller holds mu.
func (l *leader) absent() (list []*api.Member) {
	for _, id := range l.awayWithReplicas() {
		list = append(list, asAbsent(l.homes[id]))
	}
	return list
}

// awayWithReplicas lists their ids. The caller holds mu.
func (l *leader) awayWithReplicas() (list []uint64) {
	if len(l.away) == 0 {
		return nil
	}
	has := map[uint64]bool{}
	for _, v := range l.volumes {
		for _, id := range v.Replicas {
			has[id] = true
		}
	}
	for id := range l.away {
		if has[id] {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

// asAbsent is the record of a monitor that is no member as it is told.
func asAbsent(h *api.Member) *api.Member {
	h = proto.CloneOf(h)
	h.Used = nil
	if h.State != api.MemberState_MEMBER_STATE_REMOVED {
		h.State = api.MemberState_MEMBER_STATE_AWAY
	}
	return h
}
