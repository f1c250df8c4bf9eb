package global

import (
	"log/slog"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
)

// A leader whose write has failed, and one that was deposed without noticing, gives nothing
// away that another one would not: not what it has not written, nor what to forget.
func TestDeposed(t *testing.T) {
	dir := t.TempDir()
	etcd, closeEtcd, err := openEtcd(t.Context(), Etcd{Dir: dir, Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer closeEtcd()
	policy, _ := place.PolicyByName("")
	if _, err := etcd.Put(t.Context(), "/test/election", "a"); err != nil {
		t.Fatal(err)
	}
	got, err := etcd.Get(t.Context(), "/test/election")
	if err != nil {
		t.Fatal(err)
	}
	cfg := &Config{Lease: time.Minute, Policy: policy, Log: slog.New(slog.DiscardHandler)}
	l := newLeader(t.Context(), cfg, &store{client: etcd, key: "/test/election", rev: got.Kvs[0].CreateRevision})
	defer l.close()
	m := &monitor{cfg: *cfg, client: etcd}
	m.leader.Store(l)
	s := &server{m: m}
	id, err := s.Register(t.Context(), &api.RegisterRequest{Member: &api.Member{Role: api.Role_ROLE_MEMORY, Name: "m", Instance: 1, Capacity: &api.Resources{MemoryBytes: 1 << 30}}})
	if err != nil {
		t.Fatal(err)
	}
	beat := &api.HeartbeatRequest{Id: id.Id, Instance: 1, Vregions: []uint64{l.rack<<countBits | 77}, Epochs: []uint64{1}}
	if r, err := s.Heartbeat(t.Context(), beat); err != nil || len(r.Forget) != 1 {
		t.Fatalf("while it leads: %v, %v", r, err)
	}
	create := &api.CreateVNodeRequest{RequestId: "r", Spec: &api.VNodeSpec{Name: "v", MemoryBytes: 1 << 20, VregionBytes: 1 << 20, Bare: "exit"}}
	if _, err := etcd.Delete(t.Context(), "/test/election"); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Heartbeat(t.Context(), beat); status.Code(err) != codes.Unavailable {
		t.Errorf("deposed, it says what to forget: %v, %v", r, err)
	}
	// The first can't be written; the second finds it in memory, as one that has waited for it.
	if _, err := l.create(create); err == nil {
		t.Error("deposed, it has written")
	}
	if v, err := led(s, func(l *leader) (*api.VNode, error) { return l.create(create) }); err == nil {
		t.Errorf("what was not written is told: %v", v)
	}
	late := func(l *leader) (*api.VNode, error) { l.fail(errDeposed); return &api.VNode{}, nil }
	if v, err := led(s, late); status.Code(err) != codes.Unavailable {
		t.Errorf("an answer after its end: %v, %v", v, err)
	}
	again := newLeader(t.Context(), cfg, l.store)
	defer again.close()
	m.leader.Store(again)
	if v, err := led(s, late); status.Code(err) != codes.Unavailable {
		t.Errorf("an answer of one whose leadership ended meanwhile: %v, %v", v, err)
	}
}
