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

// findDrained returns the memory or storage monitor of a name or id. The caller holds mu.
func (l *leader) findDrained(ref string) (*member, error) {
	var found []*member
	for _, id := range slices.Sorted(maps.Keys(l.members)) {
		if m := l.members[id]; is(m.Member, ref) {
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 0:
		if home, err := l.findAbsent(ref); err == nil {
			return nil, status.Errorf(codes.NotFound, "storage monitor %s is away: start it to drain it; if it is lost for good, `splitvm monitor rm %s` has what it had made again elsewhere", home.Name, ref)
		}
		return nil, status.Errorf(codes.NotFound, "the rack has no monitor %q; `splitvm monitor ls` lists them", ref)
	case len(found) > 1:
		return nil, status.Errorf(codes.InvalidArgument, "%d monitors are called %q; give the id of the one, which `splitvm monitor ls` shows", len(found), ref)
	case found[0].Role != api.Role_ROLE_MEMORY && found[0].Role != api.Role_ROLE_STORAGE:
		return nil, status.Errorf(codes.InvalidArgument, "%s is a %s; only a memory or a storage monitor can be drained", ref, roleName(found[0].Role))
	}
	return found[0], nil
}

// is tells whether a monitor has a name or id.
func is(m *api.Member, ref string) bool { return m.Name == ref || strconv.FormatUint(m.Id, 10) == ref }

// drain implements api.MembersServer.
func (l *leader) drain(in *api.DrainRequest) (*api.DrainStatus, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, err := l.findDrained(in.Member)
	if err != nil {
		return nil, err
	}
	switch up := m.State == api.MemberState_MEMBER_STATE_UP; {
	case up && in.Cancel:
		return nil, status.Errorf(codes.FailedPrecondition, "%s %s is not being drained", roleName(m.Role), m.Name)
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
		return status.Errorf(codes.FailedPrecondition, "%s is the only %s of the rack that takes anything: start another one first, with `%s`", m.Name, roleName(m.Role), startAnother(m.Role))
	}
	var c change
	l.setState(&c, m, api.MemberState_MEMBER_STATE_DRAINING)
	what, aimAll := "vRegions", l.aimVRegions
	if m.Role == api.Role_ROLE_STORAGE {
		what, aimAll = "volumes", l.aimVolumes
	}
	aimed, n, err := aimAll(&c, m)
	if err != nil {
		l.setState(&c, m, api.MemberState_MEMBER_STATE_UP)
		return status.Errorf(codes.ResourceExhausted, "the other %ss have no room for %d of the %d %s of %s: %v. Start another one with `%s`, or make room, and drain again",
			roleName(m.Role), n-aimed, n, what, m.Name, err, startAnother(m.Role))
	}
	l.divert(&c, m)
	l.happened(&c, "member.draining", m.about(), "%d %s are to move", n, what)
	return l.commit(&c)
}

// startAnother is how another monitor is started.
func startAnother(r api.Role) string {
	if r == api.Role_ROLE_STORAGE {
		return "splitvm monitor storage --global ... --listen HOST:PORT --data DIR"
	}
	return "splitvm monitor memory --global ... --listen HOST:PORT --mem SIZE"
}

// aimVRegions finds targets for n vRegions of a memory monitor, for all or for none
// of them. The caller holds mu.
func (l *leader) aimVRegions(c *change, m *member) (aimed, n int, err error) {
	list := l.owned(m.Id)
	var done []*api.VRegion
	for _, r := range list {
		if r.Target != 0 || len(r.Owners) > 1 {
			continue
		}
		if err := l.findTarget(c, r, "drain of "+m.Name); err != nil {
			l.unaimAll(c, done)
			return len(done), len(list), err
		}
		done = append(done, r)
	}
	if free, kept := l.memoryLeft(); kept > free {
		l.unaimAll(c, done)
		return 0, len(list), fmt.Errorf("vNodes that run may still need %d MiB, and %d MiB would be left", kept>>20, free>>20)
	}
	return len(done), len(list), nil
}

func (l *leader) unaimAll(c *change, list []*api.VRegion) {
	for _, r := range list {
		l.unaim(c, r)
	}
}

// divert takes the target away from what was to move to m and is not on its way yet. The caller holds mu.
func (l *leader) divert(c *change, m *member) {
	for id, r := range l.moves.wanted {
		if r.Target == m.Id && l.moves.active[id] == nil {
			l.unaim(c, r)
		}
	}
	for _, v := range l.volumes {
		if v.MovesTo == m.Id {
			l.keepVolume(c, v)
		}
	}
}

// endDrain has a member take new things again.
func (l *leader) endDrain(m *member) error {
	var c change
	l.setState(&c, m, api.MemberState_MEMBER_STATE_UP)
	for _, r := range l.owned(m.Id) {
		if r.Target != 0 && l.moves.active[r.Id] == nil {
			l.unaim(&c, r)
		}
	}
	for _, v := range l.volumesAt(m.Id) {
		if v.MovesFrom == m.Id {
			l.keepVolume(&c, v)
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

// planDrains finds targets for what draining members have and that has none: a move
// has failed, or has just brought it there; and for what lost ones had. The caller holds mu.
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
		l.planVolumes(&c, m.Id, "drain of "+m.Name)
	}
	l.planRepairs(&c)
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

// expected tells whether a member has a vRegion or a replica of a volume, or is about
// to. The caller holds mu.
func (l *leader) expected(m *member) bool {
	for _, r := range l.known {
		if r.Target == m.Id || slices.Contains(r.Owners, m.Id) {
			return true
		}
	}
	for _, v := range l.volumes {
		if v.MovesTo == m.Id || slices.Contains(v.Replicas, m.Id) || slices.Contains(v.Leaving, m.Id) {
			return true
		}
	}
	return false
}

func (l *leader) getDrain(ref string) (*api.DrainStatus, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, err := l.findDrained(ref)
	if status.Code(err) == codes.NotFound {
		if home, herr := l.findAbsent(ref); herr == nil && l.removed(home.Id) {
			m, err = &member{Member: home}, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return l.drainStatus(m), nil
}

// drainStatus is how far the drain of a member has got. The caller holds mu.
func (l *leader) drainStatus(m *member) *api.DrainStatus {
	s := &api.DrainStatus{Member: proto.CloneOf(m.Member)}
	var waits []string
	if m.Role == api.Role_ROLE_STORAGE {
		waits = l.volumesLeft(s, m)
	} else {
		waits = l.vregionsLeft(s, m)
	}
	slices.Sort(waits)
	waits = slices.DeleteFunc(slices.Compact(waits), func(w string) bool { return w == "" })
	s.Waiting = strings.Join(waits, "; ")
	return s
}

// vregionsLeft tells what a memory monitor has still, and what that waits for. The
// caller holds mu.
func (l *leader) vregionsLeft(s *api.DrainStatus, m *member) (waits []string) {
	s.VregionsHeld = uint32(m.held)
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
	return waits
}

// whyIdle says why a vRegion of a draining member is not on its way; "" if it is
// soon. The caller holds mu.
func (l *leader) whyIdle(r *api.VRegion) string {
	v := l.vnodes[r.Vnode]
	switch {
	case len(r.Owners) > 1:
		return "a vRegion with replicas can't move: it is there until its vNode ends"
	case r.Target == 0 && !time.Now().Before(l.moves.late[r.Id]):
		return "no other memory monitor has room: start one with `" + startAnother(api.Role_ROLE_MEMORY) + "`"
	case v != nil && v.State == api.VNodeState_VNODE_STATE_STARTING:
		return fmt.Sprintf("vNode %s is starting", v.Spec.Name)
	}
	return ""
}
