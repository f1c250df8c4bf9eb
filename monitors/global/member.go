package global

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
)

// member is a monitor that registered.
type member struct {
	*api.Member
	lease clientv3.LeaseID

	// Of a memory or storage monitor's last heartbeat:
	reported bool
	held     int               // vRegions, or volumes
	foreign  int               // those that are of no vNode of this rack
	bytes    map[uint64]uint64 // of lines, by vRegion
}

func (m *member) about() about { return about{member: m.Id, subject: m.Name} }

// amount is what placement knows of a member's resources.
func amount(role api.Role, r *api.Resources) place.Amount {
	switch role {
	case api.Role_ROLE_PROCESSOR:
		return place.Amount{r.GetExcacheBytes(), r.GetVcpus()}
	case api.Role_ROLE_MEMORY:
		return place.Amount{r.GetMemoryBytes()}
	case api.Role_ROLE_STORAGE:
		return place.Amount{r.GetDiskBytes()}
	}
	return place.Amount{}
}

// offer makes a member known to placement.
func (l *leader) offer(m *member) {
	if p := l.pools[m.Role]; p != nil {
		p.Set(place.Member{ID: place.ID(m.Id), Name: m.Name, Domain: m.Domain, Capacity: amount(m.Role, m.Capacity),
			Closed: m.State != api.MemberState_MEMBER_STATE_UP})
	}
}

// register implements api.MembersServer.
func (l *leader) register(ctx context.Context, in *api.Member) (*api.RegisterResponse, error) {
	if l.pools[in.GetRole()] == nil || in.GetInstance() == 0 || len(in.GetName()) > 255 {
		return nil, status.Errorf(codes.InvalidArgument, "member %q: needs the role of a processor, memory or storage monitor, and an instance", in.GetName())
	}
	lease, err := l.store.client.Grant(ctx, max(1, int64(l.cfg.Lease/time.Second)))
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "grant a lease: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var c change
	m := &member{Member: proto.CloneOf(in), lease: lease.ID}
	old := l.members[m.Id]
	switch {
	case l.removed(m.Id):
		return nil, refuse(l.homes[m.Id])
	case old != nil && (old.Role != m.Role || old.Instance != m.Instance && !returns(m.Role)):
		return nil, status.Errorf(codes.AlreadyExists, "member %d is %s %q already", m.Id, old.Role, old.Name)
	case m.Id == 0 || m.Id > l.counts["member"]:
		m.Id = l.next(&c, "member")
	}
	m.State, m.JoinedUnixMs = stateOnReturn(in.State), time.Now().UnixMilli()
	if old != nil {
		m.State, m.JoinedUnixMs, m.Mesh = old.State, old.JoinedUnixMs, old.Mesh
	}
	l.members[m.Id] = m
	delete(l.away, m.Id)
	delete(l.overdue, m.Id)
	clear(l.moves.unsure)
	l.offer(m)
	l.settle(&c, m)
	if old == nil {
		l.promiseAgain(m)
	}
	c.put(idKey(keyMember, m.Id), m.Member, clientv3.WithLease(m.lease))
	l.happened(&c, "member.joined", m.about(), "%s of %s", roleName(m.Role), offerText(m.Member))
	if err := l.commit(&c); err != nil {
		return nil, err
	}
	return &api.RegisterResponse{Id: m.Id, TtlMs: lease.TTL * 1000}, nil
}

// stateOnReturn is the state of a member that was lost, and so forgotten, from the
// state that it was told last: a drain goes on.
func stateOnReturn(was api.MemberState) api.MemberState {
	switch was {
	case api.MemberState_MEMBER_STATE_DRAINING, api.MemberState_MEMBER_STATE_DRAINED:
		return api.MemberState_MEMBER_STATE_DRAINING
	}
	return api.MemberState_MEMBER_STATE_UP
}

// promiseAgain puts into the pool what a member that was lost, and is back, has and
// is to have. The caller holds mu.
func (l *leader) promiseAgain(m *member) {
	switch m.Role {
	case api.Role_ROLE_MEMORY:
		for _, r := range l.known {
			if r.Target == m.Id || slices.Contains(r.Owners, m.Id) {
				l.pools[m.Role].Promise(place.ID(m.Id), place.Amount{r.Bytes})
			}
		}
	case api.Role_ROLE_STORAGE:
		for _, v := range l.volumes {
			if v.MovesTo == m.Id || slices.Contains(v.Replicas, m.Id) {
				l.pools[m.Role].Promise(place.ID(m.Id), place.Amount{v.Bytes})
			}
		}
	}
}

// returns tells whether a monitor that starts again has what it had, and so its id.
func returns(r api.Role) bool {
	return r == api.Role_ROLE_PROCESSOR || r == api.Role_ROLE_STORAGE
}

// heartbeat implements api.MembersServer.
func (l *leader) heartbeat(ctx context.Context, in *api.HeartbeatRequest) (*api.HeartbeatResponse, error) {
	l.mu.Lock()
	m := l.members[in.Id]
	if m == nil || m.Instance != in.Instance {
		l.mu.Unlock()
		return nil, status.Errorf(codes.NotFound, "member %d: no such member, or another instance of it", in.Id)
	}
	if in.Used != nil {
		m.Used = in.Used
	}
	answer := &api.HeartbeatResponse{}
	l.takeReport(m, in, answer)
	if err := l.drained(m); err != nil {
		l.mu.Unlock()
		return nil, err
	}
	answer.State = m.State
	lease := m.lease
	l.mu.Unlock()
	if len(answer.Forget) > 0 { // another one that leads may have placed them
		if err := l.store.leads(ctx); err != nil {
			return nil, status.Errorf(codes.Unavailable, "tell member %d what to forget: %v", in.Id, err)
		}
	}
	if _, err := l.store.client.KeepAliveOnce(ctx, lease); err != nil {
		return nil, status.Errorf(codes.Unavailable, "renew the lease of member %d: %v", in.Id, err)
	}
	return answer, nil
}

// takeReport notes what a monitor holds, and says of vRegions which of that it does not
// own any more. Epochs tell a copy that was left from one that came back, or that is coming.
func (l *leader) takeReport(m *member, in *api.HeartbeatRequest, answer *api.HeartbeatResponse) {
	m.reported = m.reported || in.Used != nil
	m.held, m.foreign = len(in.Vregions)+int(m.Used.GetVolumes()), 0
	m.bytes = make(map[uint64]uint64, len(in.Vregions))
	for i, id := range in.Vregions {
		if i < len(in.HeldBytes) {
			m.bytes[id] = in.HeldBytes[i]
		}
		if id>>countBits != l.rack {
			m.foreign++
			continue
		}
		epoch := uint64(0)
		if i < len(in.Epochs) {
			epoch = in.Epochs[i]
		}
		r := l.known[id]
		switch {
		case r != nil && slices.Contains(r.Owners, m.Id) && epoch >= r.Epoch:
		case r != nil && r.Target == m.Id && epoch == r.TargetEpoch:
		default:
			answer.Forget = append(answer.Forget, id)
			answer.ForgetEpochs = append(answer.ForgetEpochs, epoch)
		}
	}
}

// leave implements api.MembersServer.
func (l *leader) leave(in *api.LeaveRequest) (*api.LeaveResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[in.Id]
	if m == nil || m.Instance != in.Instance {
		return &api.LeaveResponse{}, nil
	}
	return &api.LeaveResponse{}, l.gone(m, "left")
}

func (l *leader) listMembers(in *api.ListMembersRequest) *api.ListMembersResponse {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &api.ListMembersResponse{}
	for _, m := range l.members {
		if in.Role == 0 || in.Role == m.Role {
			r.Members = append(r.Members, proto.CloneOf(m.Member))
		}
	}
	if in.Away && (in.Role == 0 || in.Role == api.Role_ROLE_STORAGE) {
		r.Members = append(r.Members, l.absent()...)
	}
	slices.SortFunc(r.Members, func(a, b *api.Member) int { return cmp.Compare(a.Id, b.Id) })
	return r
}

// gone ends a membership, and what depended on it. The caller holds mu.
func (l *leader) gone(m *member, how string) error {
	var c change
	delete(l.members, m.Id)
	if m.Role == api.Role_ROLE_STORAGE {
		l.away[m.Id] = time.Now()
	}
	l.pools[m.Role].Remove(place.ID(m.Id))
	c.remove(idKey(keyMember, m.Id))
	c.networks = true
	l.divert(&c, m)
	l.happened(&c, "member."+how, m.about(), "%s%s", roleName(m.Role), l.affected(m))
	if m.Role == api.Role_ROLE_PROCESSOR {
		for _, v := range l.vnodes {
			if v.Processor == m.Id && active(v) {
				l.ended(&c, v, api.VNodeState_VNODE_STATE_LOST, 0, fmt.Sprintf("its processor monitor %s %s", m.Name, how))
			}
		}
	}
	return l.commit(&c)
}

// affected says what the loss of a memory or storage monitor means.
func (l *leader) affected(m *member) string {
	if list := l.volumesAt(m.Id); len(list) > 0 {
		return fmt.Sprintf(", with replicas of %d volumes", len(list))
	}
	n := 0
	for _, list := range l.vregions {
		for _, r := range list {
			if slices.Contains(r.Owners, m.Id) {
				n++
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", owner of %d vRegions", n)
}

// watchLeases notices members whose lease ended, from the state of rev on.
func (l *leader) watchLeases(rev int64) {
	watch := l.store.client.Watch(clientv3.WithRequireLeader(l.ctx), keyMember, clientv3.WithPrefix(), clientv3.WithRev(rev+1))
	for r := range watch {
		if err := r.Err(); err != nil {
			l.fail(fmt.Errorf("watch the members: %w", err))
			return
		}
		for _, e := range r.Events {
			if e.Type == clientv3.EventTypeDelete {
				l.expired(string(e.Kv.Key))
			}
		}
	}
	if l.ctx.Err() == nil {
		l.fail(fmt.Errorf("watch the members: ended"))
	}
}

// expired ends the membership of a key that etcd removed. A key that the leader
// removed belongs to no member any more.
func (l *leader) expired(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.members {
		if idKey(keyMember, m.Id) != key {
			continue
		}
		if r, err := l.store.client.Get(l.ctx, key); err == nil && len(r.Kvs) > 0 {
			return // registered again meanwhile
		}
		if err := l.gone(m, "lost"); err != nil {
			l.log.Error("a member's lease ended", "member", m.Id, "err", err)
		}
		return
	}
}

func roleName(r api.Role) string {
	return map[api.Role]string{api.Role_ROLE_PROCESSOR: "processor monitor", api.Role_ROLE_MEMORY: "memory monitor", api.Role_ROLE_STORAGE: "storage monitor"}[r]
}

// offerText describes a member's capacity.
func offerText(m *api.Member) string {
	r := m.Capacity
	switch m.Role {
	case api.Role_ROLE_PROCESSOR:
		return fmt.Sprintf("%d vCPUs and %d MiB of ExCache", r.GetVcpus(), r.GetExcacheBytes()>>20)
	case api.Role_ROLE_MEMORY:
		return fmt.Sprintf("%d MiB", r.GetMemoryBytes()>>20)
	}
	return fmt.Sprintf("%d MiB of blocks", r.GetDiskBytes()>>20)
}

// byIndex orders vRegions.
func byIndex(a, b *api.VRegion) int { return cmp.Compare(a.Index, b.Index) }
