package global

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/monitors/global/place"
	"splitvm/remote/api"
	"splitvm/remote/rack"
)

// running is a global monitor in this process.
type running struct {
	t    *testing.T
	conn *grpc.ClientConn
	stop func()
}

// start starts a global monitor with its state in dir. Its members need no
// heartbeats for as long as a test takes.
func start(t *testing.T, dir string) *running {
	t.Helper()
	return startLeasing(t, dir, 10*time.Minute)
}

// startLeasing starts one that loses members after so long without a heartbeat.
func startLeasing(t *testing.T, dir string, lease time.Duration) *running {
	t.Helper()
	policy, err := place.PolicyByName("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{Listen: "127.0.0.1:0", Name: "a", Etcd: Etcd{Dir: dir, Name: "a"}, Lease: lease,
			Policy: policy, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Ready: func(a net.Addr) { ready <- a }})
	}()
	var at net.Addr
	select {
	case at = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	conn, err := rack.Dial([]string{at.String()})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	g := &running{t: t, conn: conn, stop: func() {
		if stopped {
			return
		}
		stopped = true
		conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("global monitor: %v", err)
		}
	}}
	t.Cleanup(g.stop)
	return g
}

// willing is a processor monitor that launches whatever it is told to.
type willing struct {
	api.UnimplementedProcessorServer
}

func (willing) Launch(context.Context, *api.LaunchRequest) (*api.LaunchResponse, error) {
	return &api.LaunchResponse{}, nil
}

// launcher is the address of a willing processor monitor.
func launcher(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	api.RegisterProcessorServer(s, willing{})
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

func (g *running) register(role api.Role, name string, capacity *api.Resources) uint64 {
	g.t.Helper()
	r, err := api.NewMembersClient(g.conn).Register(g.t.Context(), &api.RegisterRequest{Member: &api.Member{
		Role: role, Name: name, Instance: 1, Data: []string{name + ":1"}, Control: launcher(g.t), Capacity: capacity}})
	if err != nil {
		g.t.Fatal(err)
	}
	return r.Id
}

func (g *running) memory(name string, bytes uint64) uint64 {
	return g.register(api.Role_ROLE_MEMORY, name, &api.Resources{MemoryBytes: bytes})
}

// beat sends a heartbeat of a monitor that holds vRegions in their first epoch.
func (g *running) beat(id uint64, held ...uint64) (*api.HeartbeatResponse, error) {
	return g.beatAt(id, 1, held...)
}

func (g *running) beatAt(id, epoch uint64, held ...uint64) (*api.HeartbeatResponse, error) {
	r := &api.HeartbeatRequest{Id: id, Instance: 1, Vregions: held}
	for i := range held {
		r.Epochs, r.HeldBytes = append(r.Epochs, epoch), append(r.HeldBytes, uint64(i+1)*4096)
	}
	return api.NewMembersClient(g.conn).Heartbeat(g.t.Context(), r)
}

// launched is a vNode that its processor runs, in whose place the test reports.
func (g *running) launched(name string, processor uint64) *api.VNode {
	g.t.Helper()
	vnodes := api.NewVNodesClient(g.conn)
	v, err := vnodes.CreateVNode(g.t.Context(), &api.CreateVNodeRequest{RequestId: name, Spec: &api.VNodeSpec{Name: name, MemoryBytes: 1 << 30, Bare: "exit"}})
	if err != nil {
		g.t.Fatal(err)
	}
	again, err := vnodes.CreateVNode(g.t.Context(), &api.CreateVNodeRequest{RequestId: name, Spec: &api.VNodeSpec{Name: name, MemoryBytes: 1 << 30, Bare: "exit"}})
	if err != nil || again.Id != v.Id {
		g.t.Fatalf("the same request again: %v, %v", again, err)
	}
	if err := g.launch(name, processor); err != nil {
		g.t.Fatal(err)
	}
	if v, err = vnodes.GetVNode(g.t.Context(), &api.VNodeRef{Vnode: name}); err != nil || v.State != api.VNodeState_VNODE_STATE_RUNNING {
		g.t.Fatalf("%v, %v", v, err)
	}
	return v
}

// launch starts a vNode and reports that it runs, unless it can't be started.
func (g *running) launch(name string, processor uint64) error {
	g.t.Helper()
	vnodes := api.NewVNodesClient(g.conn)
	v, err := vnodes.StartVNode(g.t.Context(), &api.VNodeRef{Vnode: name})
	if err != nil {
		return err
	}
	r, err := vnodes.ReportVNode(g.t.Context(), &api.ReportVNodeRequest{Processor: processor,
		Vnode: &api.VNode{Id: v.Id, Run: v.Run, State: api.VNodeState_VNODE_STATE_RUNNING, Pid: 7}})
	if err != nil || r.Unknown {
		g.t.Fatal(r, err)
	}
	return nil
}

func (g *running) place(v *api.VNode, bytes uint64, indices ...uint32) (*api.PlaceVRegionsResponse, error) {
	return api.NewVRegionsClient(g.conn).PlaceVRegions(g.t.Context(), &api.PlaceVRegionsRequest{Vnode: v.Id, Run: v.Run, Indices: indices, Bytes: bytes})
}

// The GMM places a vRegion once, evenly, within what there is; after the vNode's
// end its owner is told to forget it, but not a vRegion of somebody else; all of
// that also by the next global monitor, which gives no id again.
func TestVRegions(t *testing.T) {
	dir := t.TempDir()
	g := start(t, dir)
	a, b := g.memory("a", 4<<30), g.memory("b", 4<<30)
	p := g.register(api.Role_ROLE_PROCESSOR, "p", &api.Resources{Vcpus: 8, ExcacheBytes: 1 << 30})
	v := g.launched("v", p)
	first, err := g.place(v, 1<<30, 0, 1, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	count := map[uint64]int{}
	for _, r := range first.Vregions {
		count[r.Owners[0]]++
	}
	if count[a] != 2 || count[b] != 2 || len(first.Owners) != 2 {
		t.Errorf("owners %v", count)
	}
	g.stop()
	g = start(t, dir)
	again, err := g.place(v, 1<<30, 3, 0)
	if err != nil || again.Vregions[0].Id != first.Vregions[3].Id || again.Vregions[1].Id != first.Vregions[0].Id {
		t.Errorf("placed again: %v, %v", again, err)
	}
	if _, err := g.place(v, 1<<30, 4, 5, 6, 7, 8); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("more than there is: %v", err)
	}
	next, err := g.place(v, 1<<30, 4, 5, 6, 7)
	if err != nil {
		t.Fatalf("a refused request has kept something: %v", err)
	}
	for _, r := range next.Vregions {
		if r.Id <= first.Vregions[3].Id {
			t.Errorf("id %#x was given before", r.Id)
		}
	}
	mine := ownedBy(t, first.Vregions, a).Id
	if r, err := g.beat(a, mine, 12345); err != nil || len(r.Forget) != 0 {
		t.Errorf("while it runs: %v, %v", r, err)
	}
	list, err := api.NewVRegionsClient(g.conn).ListVRegions(t.Context(), &api.ListVRegionsRequest{Vnode: "v"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list.Vregions {
		if want := map[bool]uint64{true: 4096}[r.Id == mine]; r.HeldBytes != want {
			t.Errorf("vRegion %#x holds %d bytes, want %d", r.Id, r.HeldBytes, want)
		}
	}
	ended := &api.VNode{Id: v.Id, Run: v.Run, State: api.VNodeState_VNODE_STATE_EXITED}
	if _, err := api.NewVNodesClient(g.conn).ReportVNode(t.Context(), &api.ReportVNodeRequest{Processor: p, Vnode: ended}); err != nil {
		t.Fatal(err)
	}
	if r, err := g.beat(a, mine, 12345); err != nil || !slices.Equal(r.Forget, []uint64{mine}) {
		t.Errorf("after its end: %v, %v, want %d", r, err, mine)
	}
	if _, err := g.place(v, 1<<30, 0); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("placed for a run that is over: %v", err)
	}
}

// Members outlast a leader that dies just before they are renewed, which they are four
// times in a lease.
func TestLeaderTTL(t *testing.T) {
	for _, lease := range []time.Duration{2 * time.Second, 5 * time.Second, DefaultLease, time.Minute} {
		if ttl := time.Duration(leaderTTL(lease)) * time.Second; ttl < time.Second || ttl > 5*time.Second || ttl+lease/4 >= lease {
			t.Errorf("lease of %v: %v for the leader", lease, ttl)
		}
	}
}

// What a vNode may still need is kept for it: others are refused, and so is a drain,
// until there is room or it has ended. What is needed is there then.
func TestMemoryIsKept(t *testing.T) {
	g := start(t, t.TempDir())
	g.memory("a", 4<<30)
	p := g.register(api.Role_ROLE_PROCESSOR, "p", &api.Resources{Vcpus: 8, ExcacheBytes: 1 << 30})
	vnodes := api.NewVNodesClient(g.conn)
	create := func(name string, bytes uint64) {
		t.Helper()
		if _, err := vnodes.CreateVNode(t.Context(), &api.CreateVNodeRequest{Spec: &api.VNodeSpec{Name: name, MemoryBytes: bytes, Bare: "exit"}}); err != nil {
			t.Fatal(err)
		}
	}
	create("v", 3<<30-1<<20) // three vRegions
	create("w", 2<<30)
	if err := g.launch("v", p); err != nil {
		t.Fatal(err)
	}
	refused := func(when string) {
		t.Helper()
		if err := g.launch("w", p); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "w may need 2048 MiB") {
			t.Errorf("%s: %v, want that there is no room", when, err)
		}
	}
	refused("nothing is placed")
	v, err := vnodes.GetVNode(t.Context(), &api.VNodeRef{Vnode: "v"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.place(v, 1<<30, 1); err != nil {
		t.Fatal(err)
	}
	refused("one of three is placed")
	b := g.memory("b", 1<<30)
	if err := g.launch("w", p); err != nil {
		t.Errorf("with another monitor: %v", err)
	}
	if _, err := api.NewMembersClient(g.conn).Drain(t.Context(), &api.DrainRequest{Member: "b"}); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "may still need 4096 MiB") {
		t.Errorf("drain of member %d: %v", b, err)
	}
	w, err := vnodes.GetVNode(t.Context(), &api.VNodeRef{Vnode: "w"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint32(2) {
		_, err = g.place(v, 1<<30, 2*i)
		_, errW := g.place(w, 1<<30, i)
		if err := errors.Join(err, errW); err != nil {
			t.Errorf("what was kept: %v", err)
		}
	}
	if _, err := g.place(v, 1<<30, 5); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more than there is: %v", err)
	}
}

// A member whose heartbeats stop is lost, and so are a processor's vNodes.
func TestLease(t *testing.T) {
	g := startLeasing(t, t.TempDir(), 5*time.Second) // of which a busy machine may take some
	a := g.memory("a", 4<<30)
	p := g.register(api.Role_ROLE_PROCESSOR, "p", &api.Resources{Vcpus: 8, ExcacheBytes: 1 << 30})
	v := g.launched("v", p)
	if _, err := g.place(v, 1<<30, 0); err != nil {
		t.Fatal(err)
	}
	for v.State == api.VNodeState_VNODE_STATE_RUNNING {
		if _, err := g.beat(a); err != nil {
			t.Fatalf("heartbeat: %v", err)
		}
		var err error
		if v, err = api.NewVNodesClient(g.conn).GetVNode(t.Context(), &api.VNodeRef{Vnode: "v"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // heartbeats are not sent in a hurry
	}
	if v.State != api.VNodeState_VNODE_STATE_LOST {
		t.Errorf("%v", v)
	}
	if _, err := g.beat(p); status.Code(err) != codes.NotFound {
		t.Errorf("heartbeat of a lost member: %v", err)
	}
	if r, err := api.NewVRegionsClient(g.conn).ListVRegions(t.Context(), &api.ListVRegionsRequest{}); err != nil || len(r.Vregions) != 0 {
		t.Errorf("vRegions are left: %v, %v", r, err)
	}
}

func TestSpecIsChecked(t *testing.T) {
	ok := &api.VNodeSpec{Name: "a", MemoryBytes: 1 << 30, Kernel: "k"}
	if s, err := complete(ok); err != nil || s.Vcpus != 1 || s.Excache.FloorBytes == 0 || s.Excache.LimitBytes != 1<<30 {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := complete(&api.VNodeSpec{MemoryBytes: 1 << 30, Image: "alpine"}); err != nil {
		t.Errorf("an image without a kernel: %v", err)
	}
	for _, bad := range []*api.VNodeSpec{nil,
		{MemoryBytes: 1 << 30, Image: "alpine", Bare: "exit"},
		{Name: "../x", MemoryBytes: 1 << 30, Kernel: "k"}, {Name: "12", MemoryBytes: 1 << 30, Kernel: "k"},
		{MemoryBytes: 1, Kernel: "k"}, {MemoryBytes: 1<<30 + 1, Kernel: "k"}, {MemoryBytes: 1 << 30},
		{MemoryBytes: 1 << 30, Kernel: "k", Bare: "b"}, {MemoryBytes: 1 << 30, Kernel: "k", VregionBytes: 3 << 20},
		{MemoryBytes: 1 << 30, Kernel: "k", Vcpus: 5000},
		{MemoryBytes: 1 << 30, Bare: "exit", Volumes: []*api.VolumeMount{{Name: "db"}}},
		{MemoryBytes: 1 << 30, Kernel: "k", Volumes: []*api.VolumeMount{{Name: "db"}, {Name: "db"}}},
		{MemoryBytes: 1 << 30, Kernel: "k", Volumes: []*api.VolumeMount{{Name: "db", Mount: "/srv"}}},
		{MemoryBytes: 1 << 30, Kernel: "k", Command: []string{"c"}, Volumes: []*api.VolumeMount{{Name: "db", Mount: "srv"}}},
		{MemoryBytes: 1 << 30, Kernel: "k", Volumes: []*api.VolumeMount{{Name: "db,steal"}}},
		{MemoryBytes: 1 << 30, Kernel: "k", Volumes: []*api.VolumeMount{{Name: "db", ReadOnly: true, CacheBytes: 1 << 20}}},
		{MemoryBytes: 1 << 30, Kernel: "k", Excache: &api.ExCacheShare{FloorBytes: 2, LimitBytes: 1}}} {
		if s, err := complete(bad); err == nil {
			t.Errorf("accepted: %v", s)
		}
	}
}

// ownedBy returns the first vRegion of an owner.
func ownedBy(t *testing.T, list []*api.VRegion, owner uint64) *api.VRegion {
	t.Helper()
	i := slices.IndexFunc(list, func(r *api.VRegion) bool { return r.Owners[0] == owner })
	if i < 0 {
		t.Fatalf("member %d owns none of %v", owner, list)
	}
	return list[i]
}
