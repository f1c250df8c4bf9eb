package global

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
)

// leave ends a membership.
func (g *running) leave(id uint64) {
	g.t.Helper()
	members := api.NewMembersClient(g.conn)
	list, err := members.ListMembers(g.t.Context(), &api.ListMembersRequest{})
	if err != nil {
		g.t.Fatal(err)
	}
	for _, m := range list.Members {
		if m.Id == id {
			if _, err := members.Leave(g.t.Context(), &api.LeaveRequest{Id: id, Instance: m.Instance}); err != nil {
				g.t.Fatal(err)
			}
			return
		}
	}
	g.t.Fatalf("no member %d", id)
}

func (g *running) removeMember(in *api.RemoveMemberRequest) (*api.DrainStatus, error) {
	return api.NewMembersClient(g.conn).RemoveMember(g.t.Context(), in)
}

func (g *running) comeBack(id uint64, name string) error {
	_, err := api.NewMembersClient(g.conn).Register(g.t.Context(), &api.RegisterRequest{Member: &api.Member{Id: id,
		Role: api.Role_ROLE_STORAGE, Name: name, Instance: uint64(time.Now().UnixNano()), Data: []string{"127.0.0.1:1"}, Capacity: &api.Resources{DiskBytes: 10 << 30}}})
	return err
}

func (g *running) volume(name string) *api.VolumePlace {
	g.t.Helper()
	v, err := api.NewVolumesClient(g.conn).GetVolume(g.t.Context(), &api.VolumeName{Name: name})
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

// A storage monitor is removed when it is away; what had a replica elsewhere is to be
// repaired, what had none is told to be lost and stays; the monitor is not taken back
// before that is cancelled, also by the next leader.
func TestRemoveMember(t *testing.T) {
	dir := t.TempDir()
	g := start(t, dir)
	a := g.disk("a", 0)
	volumes := api.NewVolumesClient(g.conn)
	create := func(name string, replicas uint32) {
		t.Helper()
		if _, err := volumes.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: name, Bytes: 1 << 30, Replicas: replicas}); err != nil {
			t.Fatal(err)
		}
	}
	create("only", 1)
	g.disk("b", 0)
	create("two", 2)
	if _, err := volumes.BranchVolume(t.Context(), &api.BranchVolumeRequest{Name: "two", NewName: "monday", ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.removeMember(&api.RemoveMemberRequest{Member: "a"}); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "monitor drain a") {
		t.Errorf("while it is up: %v", err)
	}
	if _, err := g.removeMember(&api.RemoveMemberRequest{Member: "x"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown one: %v", err)
	}
	a.stop()
	g.leave(a.id)
	if _, err := g.removeMember(&api.RemoveMemberRequest{Member: "a", Cancel: true}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("taken back though it was not removed: %v", err)
	}
	s, err := g.removeMember(&api.RemoveMemberRequest{Member: "a"})
	if err != nil || s.VolumesLeft != 2 || !slices.Equal(s.Lost, []string{"only"}) || s.Member.State != api.MemberState_MEMBER_STATE_REMOVED {
		t.Errorf("%v, %v", s, err)
	}
	if v := g.volume("two"); v.MovesTo != 0 {
		t.Errorf("a target without a third monitor: %v", v)
	}
	g.stop()
	g = start(t, dir)
	volumes = api.NewVolumesClient(g.conn)
	if err := g.comeBack(a.id, "a"); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "splitvm monitor rm --cancel") {
		t.Errorf("it is back: %v", err)
	}
	list, err := api.NewMembersClient(g.conn).ListMembers(t.Context(), &api.ListMembersRequest{Away: true, Role: api.Role_ROLE_STORAGE})
	if err != nil || len(list.Members) != 2 || list.Members[0].State != api.MemberState_MEMBER_STATE_REMOVED {
		t.Errorf("%v, %v", list, err)
	}
	if v := g.volume("only"); len(v.Monitors) != 1 || !v.Monitors[0].Lost {
		t.Errorf("%v", v)
	}
	if _, err := volumes.RemoveVolume(t.Context(), &api.RemoveVolumeRequest{Name: "only"}); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "--force") {
		t.Errorf("given up: %v", err)
	}
	c := g.disk("c", 0)
	end := time.Now().Add(time.Minute)
	for v := g.volume("two"); v.MovesTo != c.id || v.MovesFrom != a.id; v = g.volume("two") {
		if time.Now().After(end) {
			t.Fatalf("no target at the third monitor: %v", v)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := g.removeMember(&api.RemoveMemberRequest{Member: "a", Cancel: true}); err != nil {
		t.Fatal(err)
	}
	if err := g.comeBack(a.id, "a"); err != nil {
		t.Errorf("taken back: %v", err)
	}
	if v := g.volume("only"); v.Monitors[0].Lost || v.Monitors[0].Away {
		t.Errorf("%v", v)
	}
}

// A lost replica is made again in a failure domain where the volume has no other, if there
// is one, also by a monitor that listens where the lost one did: nobody is sent to the lost
// one there.
func TestRepairTarget(t *testing.T) {
	policy, err := place.PolicyByName("")
	if err != nil {
		t.Fatal(err)
	}
	l := newLeader(t.Context(), &Config{Policy: policy, Log: slog.New(slog.DiscardHandler)}, nil)
	add := func(id uint64, domain, address string) {
		m := &member{Member: &api.Member{Id: id, Role: api.Role_ROLE_STORAGE, Name: string(rune('a' - 1 + id)), Domain: domain,
			Data: []string{address}, State: api.MemberState_MEMBER_STATE_UP, Capacity: &api.Resources{DiskBytes: 10 << 30}}}
		l.members[id], l.homes[id] = m, m.Member
		l.offer(m)
	}
	add(1, "r1", "h1:1")
	add(2, "r2", "h2:1")
	add(3, "r2", "h3:1")
	v := &api.VolumePlace{Name: "v", Bytes: 1 << 30, Replicas: []uint64{1, 2}, State: api.VolumeState_VOLUME_STATE_READY}
	l.volumes["v"] = v
	delete(l.members, 1)
	l.away[1] = time.Now()
	l.homes[1].State = api.MemberState_MEMBER_STATE_REMOVED
	aim := func() uint64 {
		var c change
		v.MovesTo = 0
		l.planRepairs(&c)
		return v.MovesTo
	}
	if to := aim(); to != 3 {
		t.Errorf("to member %d, want 3, the only one", to)
	}
	if r := l.located(v).Monitors; len(r[0].Data) == 0 || !r[0].Lost {
		t.Errorf("the lost one: %v, with its address until it is given up", r[0])
	}
	add(4, "r1", "h1:1")
	if to := aim(); to != 4 {
		t.Errorf("to member %d, want 4, in another failure domain than the replica that is left", to)
	}
	if r := l.located(v).Monitors; len(r[0].Data) != 0 {
		t.Errorf("the lost one: %v, though another one is at its address", r[0])
	}
}

// A storage monitor is overdue when it has been away for long, but not while more of them
// are away than there are.
func TestOverdue(t *testing.T) {
	l := newLeader(t.Context(), &Config{Log: slog.New(slog.DiscardHandler)}, nil)
	l.cfg.RepairAfter = time.Minute
	l.volumes["v"] = &api.VolumePlace{Name: "v", Replicas: []uint64{1, 2, 3}}
	for id := uint64(1); id <= 3; id++ {
		l.homes[id] = &api.Member{Id: id, Role: api.Role_ROLE_STORAGE, Name: "m"}
		l.members[id] = &member{Member: l.homes[id]}
	}
	overdue := func() int {
		var c change
		l.findOverdue(&c)
		return len(l.overdue)
	}
	away := func(id uint64, since time.Duration) {
		delete(l.members, id)
		l.away[id] = time.Now().Add(-since)
	}
	away(1, time.Second)
	if n := overdue(); n != 0 {
		t.Errorf("after a second: %d", n)
	}
	away(1, time.Hour)
	away(2, time.Hour)
	if n := overdue(); n != 0 {
		t.Errorf("two of three are away: %d are overdue", n)
	}
	delete(l.away, 2)
	l.members[2] = &member{Member: l.homes[2]}
	if n := overdue(); n != 1 || !l.lost(1) {
		t.Errorf("one of three is away: %d are overdue", n)
	}
	l.cfg.RepairAfter = 0
	clear(l.overdue)
	if n := overdue(); n != 0 {
		t.Errorf("without --repair-after: %d", n)
	}
}
