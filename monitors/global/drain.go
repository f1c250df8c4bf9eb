package global

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
)

// findMemory returns the memory monitor of a name or id. The caller holds mu.
func (l *leader) findMemory(ref string) (*member, error) {
	var found []*member
	for _, id := range slices.Sorted(maps.Keys(l.members)) {
		if m := l.members[id]; m.Name == ref || strconv.FormatUint(id, 10) == ref {
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 0:
		return nil, status.Errorf(codes.NotFound, "the rack has no monitor %q; `splitvm monitor ls` lists them", ref)
	case len(found) > 1:
		return nil, status.Errorf(codes.InvalidArgument, "%d monitors are called %q; give the id of the one, which `splitvm monitor ls` shows", len(found), ref)
	case found[0].Role != api.Role_ROLE_MEMORY:
		return nil, status.Errorf(codes.InvalidArgument, "%s is a %s; only a memory monitor can be drained", ref, roleName(found[0].Role))
	}
	return found[0], nil
}

// drain implements api.MembersServer.
func (l *leader) drain(in *api.DrainRequest) (*api.DrainStatus, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, err := l.findMemory(in.Member)
	if err != nil {
		return nil, err
	}
	switch up := m.State == api.MemberState_MEMBER_STATE_UP; {
	case up && in.Cancel:
		return nil, status.Errorf(codes.FailedPrecondition, "memory monitor %s is not being drained", m.Name)
	case in.Cancel:
		err = l.endDrain(m)
	case up:
		err = l.beginDrain(m)
	}
	if err != nil {
		return nil, err
	}
	l.moves.nudge()
	return l.drainStatus(m), nil
}

// beginDrain gives nothing new to a member and finds targets for all that it has,
// or changes nothing.
func (l *leader) beginDrain(m *member) error {
	others := 0
	for _, o := range l.members {
		if o != m && o.Role == m.Role && o.State == api.MemberState_MEMBER_STATE_UP {
			others++
		}
	}
	if others == 0 {
		return status.Errorf(codes.FailedPrecondition, "%s is the only memory monitor of the rack that takes vRegions: start another one first, with `splitvm monitor memory --global ... --listen HOST:PORT --mem SIZE`", m.Name)
	}
	var c change
	l.setState(&c, m, api.MemberState_MEMBER_STATE_DRAINING)
	list := l.owned(m.Id)
	var aimed []*api.VRegion
	for _, r := range list {
		if r.Target != 0 || len(r.Owners) > 1 {
			continue
		}
		if err := l.findTarget(&c, r, "drain of "+m.Name); err != nil {
			for _, r := range aimed {
				l.unaim(&c, r)
			}
			l.setState(&c, m, api.MemberState_MEMBER_STATE_UP)
			return status.Errorf(codes.ResourceExhausted, "the other memory monitors have no room for %d of the %d vRegions of %s: %v. Start another one with `splitvm monitor memory --global ... --listen HOST:PORT --mem SIZE`, or end vNodes, and drain again",
				len(list)-len(aimed), len(list), m.Name, err)
		}
		aimed = append(aimed, r)
	}
	l.divert(&c, m)
	l.happened(&c, "member.draining", m.about(), "%d vRegions are to move", len(list))
	return l.commit(&c)
}

// divert takes the target away from vRegions that were to move to m and are not on
// their way yet. The caller holds mu.
func (l *leader) divert(c *change, m *member) {
	for id, r := range l.moves.wanted {
		if r.Target == m.Id && l.moves.active[id] == nil {
			l.unaim(c, r)
		}
	}
}

// endDrain has a member take vRegions again.
func (l *leader) endDrain(m *member) error {
	var c change
	l.setState(&c, m, api.MemberState_MEMBER_STATE_UP)
	for _, r := range l.owned(m.Id) {
		if r.Target != 0 && l.moves.active[r.Id] == nil {
			l.unaim(&c, r)
		}
	}
	l.happened(&c, "member.drain-cancelled", m.about(), "")
	return l.commit(&c)
}

// setState changes a member's state, and adds that to a change. The caller holds mu.
func (l *leader) setState(c *change, m *member, s api.MemberState) {
	m.State = s
	l.offer(m)
	c.put(idKey(keyMember, m.Id), m.Member, clientv3.WithLease(m.lease))
}

// findTarget promises room for a vRegion at another monitor. The caller holds mu.
func (l *leader) findTarget(c *change, r *api.VRegion, why string) error {
	var not []place.ID
	for _, o := range r.Owners {
		not = append(not, place.ID(o))
	}
	d, err := l.pools[api.Role_ROLE_MEMORY].Place(place.Request{Need: place.Amount{r.Bytes}, Replicas: 1, Not: not})
	if err != nil {
		return err
	}
	l.aim(c, r, uint64(d.Members[0]), why+"; "+d.Why)
	return nil
}

// planDrains finds targets for vRegions of draining members that have none: a move
// has failed, or has just brought them there. The caller holds mu.
func (l *leader) planDrains() error {
	var c change
	for _, m := range l.members {
		if m.State != api.MemberState_MEMBER_STATE_DRAINING {
			continue
		}
		for _, r := range l.owned(m.Id) {
			if r.Target != 0 || len(r.Owners) > 1 || time.Now().Before(l.moves.late[r.Id]) {
				continue
			}
			if l.findTarget(&c, r, "drain of "+m.Name) != nil {
				break // the drain's status says so
			}
		}
	}
	if len(c.ops) == 0 {
		return nil
	}
	return l.commit(&c)
}

// drained notes that a draining member has nothing any more. The caller holds mu.
func (l *leader) drained(m *member) error {
	if m.State != api.MemberState_MEMBER_STATE_DRAINING || m.held > 0 || !m.reported || l.expected(m) {
		return nil
	}
	var c change
	l.setState(&c, m, api.MemberState_MEMBER_STATE_DRAINED)
	l.happened(&c, "member.drained", m.about(), "holds nothing any more and may be stopped")
	return l.commit(&c)
}

// expected tells whether a member owns a vRegion, or is about to.
func (l *leader) expected(m *member) bool {
	for _, r := range l.known {
		if r.Target == m.Id || slices.Contains(r.Owners, m.Id) {
			return true
		}
	}
	return false
}

func (l *leader) getDrain(ref string) (*api.DrainStatus, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, err := l.findMemory(ref)
	if err != nil {
		return nil, err
	}
	return l.drainStatus(m), nil
}

// drainStatus is how far the drain of a member has got. The caller holds mu.
func (l *leader) drainStatus(m *member) *api.DrainStatus {
	s := &api.DrainStatus{Member: proto.CloneOf(m.Member), VregionsHeld: uint32(m.held)}
	var waits []string
	for _, r := range l.owned(m.Id) {
		s.VregionsLeft++
		s.BytesLeft += r.Bytes
		a := l.moves.active[r.Id]
		if a == nil {
			waits = append(waits, l.whyIdle(r))
			continue
		}
		done := a.copied
		if a.left > 0 {
			done = min(a.copied, r.Bytes-min(a.left, r.Bytes))
		}
		s.BytesLeft -= min(done, r.Bytes)
		s.Moving = append(s.Moving, l.moveOf(r))
		waits = append(waits, a.trouble)
	}
	if m.foreign > 0 {
		waits = append(waits, fmt.Sprintf("%d vRegions belong to vNodes that were started with --memory-monitor, outside of the rack: they are there until those end", m.foreign))
	}
	slices.Sort(waits)
	waits = slices.DeleteFunc(slices.Compact(waits), func(w string) bool { return w == "" })
	s.Waiting = strings.Join(waits, "; ")
	return s
}

// whyIdle says why a vRegion of a draining member is not on its way; "" if it is
// soon. The caller holds mu.
func (l *leader) whyIdle(r *api.VRegion) string {
	v := l.vnodes[r.Vnode]
	switch {
	case len(r.Owners) > 1:
		return "a vRegion with replicas can't move: it is there until its vNode ends"
	case r.Target == 0 && !time.Now().Before(l.moves.late[r.Id]):
		return "no other memory monitor has room: start one with `splitvm monitor memory --global ... --listen HOST:PORT --mem SIZE`"
	case v != nil && v.State == api.VNodeState_VNODE_STATE_STARTING:
		return fmt.Sprintf("vNode %s is starting", v.Spec.Name)
	}
	return ""
}
