package global

import (
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/monitors/storage"
	"splitvm/remote"
	"splitvm/remote/api"
	"splitvm/remote/volumes"
)

// disk is a storage monitor's control half: its volumes, without the data path.
type disk struct {
	*storage.Store
	id   uint64
	stop func()
}

// disk makes a storage monitor a member.
func (g *running) disk(name string, id uint64) *disk {
	g.t.Helper()
	store, err := storage.OpenStore(g.t.TempDir())
	if err != nil {
		g.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	s := grpc.NewServer(grpc.WaitForHandlers(true))
	volumes.Register(s, store)
	go s.Serve(l)
	d := &disk{Store: store, stop: s.Stop}
	g.t.Cleanup(func() {
		s.Stop()
		if err := store.Close(); err != nil {
			g.t.Error(err)
		}
	})
	r, err := api.NewMembersClient(g.conn).Register(g.t.Context(), &api.RegisterRequest{Member: &api.Member{Id: id,
		Role: api.Role_ROLE_STORAGE, Name: name, Instance: uint64(time.Now().UnixNano()), Data: []string{l.Addr().String()}, Capacity: &api.Resources{DiskBytes: 10 << 30}}})
	if err != nil {
		g.t.Fatal(err)
	}
	d.id = r.Id
	return d
}

func (d *disk) has(t *testing.T, name string) bool {
	t.Helper()
	_, err := d.InspectVolume(t.Context(), name)
	if err != nil && remote.KindOf(err) != remote.NoVolume {
		t.Fatal(err)
	}
	return err == nil
}

// The GSM places a volume's replicas apart, makes them there, promises no room
// twice, and gives it back with the volume.
func TestVolumes(t *testing.T) {
	dir := t.TempDir()
	g := start(t, dir)
	a, b := g.disk("a", 0), g.disk("b", 0)
	client := api.NewVolumesClient(g.conn)
	in := &api.CreateVolumeRequest{Name: "db", Bytes: 6 << 30, Replicas: 2, RequestId: "one"}
	v, err := client.CreateVolume(t.Context(), in)
	if err != nil || len(v.Replicas) != 2 || v.Replicas[0] == v.Replicas[1] || len(v.Monitors) != 2 || v.State != api.VolumeState_VOLUME_STATE_READY {
		t.Fatalf("%v, %v", v, err)
	}
	if !a.has(t, "db") || !b.has(t, "db") {
		t.Error("a replica was not made")
	}
	if again, err := client.CreateVolume(t.Context(), in); err != nil || again.Id != v.Id {
		t.Errorf("the same request again: %v, %v", again, err)
	}
	if _, err := client.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: "db", Bytes: 6 << 30, RequestId: "two"}); status.Code(err) != codes.AlreadyExists {
		t.Errorf("another one of its name: %v", err)
	}
	if _, err := client.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: "db2", Bytes: 6 << 30}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("no room: %v", err)
	}
	g.stop()
	g = start(t, dir) // the next leader knows it all
	if _, err := api.NewVolumesClient(g.conn).CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: "db2", Bytes: 6 << 30}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("no room, at the next leader: %v", err)
	}
	client = api.NewVolumesClient(g.conn)
	if _, err := client.RemoveVolume(t.Context(), &api.RemoveVolumeRequest{Name: "db"}); err != nil {
		t.Fatal(err)
	}
	if a.has(t, "db") || b.has(t, "db") {
		t.Error("a replica is left")
	}
	if _, err := client.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: "db2", Bytes: 6 << 30}); err != nil {
		t.Errorf("after the other is gone: %v", err)
	}
}

// A volume of which a replica can't be made leaves nothing; one with a replica that
// can't be asked is removed by force only.
func TestVolumeMonitorAway(t *testing.T) {
	g := start(t, t.TempDir())
	a, b := g.disk("a", 0), g.disk("b", 0)
	client := api.NewVolumesClient(g.conn)
	create := func(name string) error {
		_, err := client.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: name, Bytes: 1 << 30, Replicas: 2})
		return err
	}
	if _, err := b.CreateVolume(t.Context(), 7, "taken", 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := create("taken"); status.Code(err) != codes.AlreadyExists {
		t.Errorf("a monitor has another volume of the name: %v", err)
	}
	if a.has(t, "taken") || !b.has(t, "taken") {
		t.Error("the replica is left, or the other volume gone")
	}
	if err := create("db"); err != nil {
		t.Fatal(err)
	}
	b.stop()
	if err := create("db2"); status.Code(err) != codes.FailedPrecondition || a.has(t, "db2") {
		t.Errorf("made without its monitor: %v", err)
	}
	remove := func(force bool) error {
		_, err := client.RemoveVolume(t.Context(), &api.RemoveVolumeRequest{Name: "db", Force: force})
		return err
	}
	if err := remove(false); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("removed without its monitor: %v", err)
	}
	if err := remove(true); err != nil {
		t.Errorf("by force: %v", err)
	}
	if list, err := client.ListVolumes(t.Context(), &api.ListVolumesRequest{}); err != nil || len(list.Volumes) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// A branch is where its origin is; a change of the size is promised.
func TestBranchAndResizeVolume(t *testing.T) {
	g := start(t, t.TempDir())
	a := g.disk("a", 0)
	g.disk("b", 0)
	client := api.NewVolumesClient(g.conn)
	v, err := client.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: "db", Bytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.BranchVolume(t.Context(), &api.BranchVolumeRequest{Name: "db", NewName: "monday", ReadOnly: true})
	if err != nil || !s.ReadOnly || s.Replicas[0] != v.Replicas[0] || s.Origin != "db" {
		t.Fatalf("snapshot: %v, %v", s, err)
	}
	if _, err := client.BranchVolume(t.Context(), &api.BranchVolumeRequest{Name: "monday", NewName: "test"}); err != nil {
		t.Errorf("clone: %v", err)
	}
	if a.id == v.Replicas[0] && !(a.has(t, "monday") && a.has(t, "test")) {
		t.Error("the branches are not there")
	}
	big, err := client.ResizeVolume(t.Context(), &api.ResizeVolumeRequest{Name: "db", Bytes: 9<<30 - 1})
	if err != nil || big.Bytes != 9<<30 {
		t.Fatalf("resize: %v, %v", big, err)
	}
	for _, name := range []string{"c", "d"} { // one more fits beside them, at the other monitor
		_, err = client.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: name, Bytes: 6 << 30})
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the new size is not promised: %v", err)
	}
}

// One vNode writes a volume at a time; what a lost one may still write is fenced by
// the next; a storage monitor that comes back elsewhere is the same.
func TestVolumeHasOneWriter(t *testing.T) {
	g := start(t, t.TempDir())
	d := g.disk("a", 0)
	g.memory("m", 16<<30)
	p := g.register(api.Role_ROLE_PROCESSOR, "p", &api.Resources{Vcpus: 8, ExcacheBytes: 1 << 30})
	volumes, vnodes := api.NewVolumesClient(g.conn), api.NewVNodesClient(g.conn)
	if _, err := volumes.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: "db", Bytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	place := func(name string, readOnly bool) error {
		spec := &api.VNodeSpec{Name: name, MemoryBytes: 1 << 30, Kernel: "k", Volumes: []*api.VolumeMount{{Name: "db", ReadOnly: readOnly}}}
		if _, err := vnodes.CreateVNode(t.Context(), &api.CreateVNodeRequest{Spec: spec}); err != nil {
			t.Fatal(err)
		}
		return g.launch(name, p)
	}
	if err := place("w", false); err != nil {
		t.Fatal(err)
	}
	if err := place("x", false); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a second writer: %v", err)
	}
	if err := place("r", true); err != nil {
		t.Errorf("a reader: %v", err)
	}
	if _, err := volumes.RemoveVolume(t.Context(), &api.RemoveVolumeRequest{Name: "db"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("removed while it is in use: %v", err)
	}
	if _, err := api.NewMembersClient(g.conn).Leave(t.Context(), &api.LeaveRequest{Id: p, Instance: 1}); err != nil {
		t.Fatal(err)
	}
	p = g.register(api.Role_ROLE_PROCESSOR, "q", &api.Resources{Vcpus: 8, ExcacheBytes: 1 << 30})
	if err := g.launch("x", p); err != nil {
		t.Fatalf("after the writer is lost: %v", err)
	}
	d.stop()
	e := g.disk("a", d.id)
	in, err := vnodes.InspectVNode(t.Context(), &api.VNodeRef{Vnode: "x"})
	if err != nil || len(in.Volumes) != 1 || !in.Volumes[0].Fence || in.Volumes[0].Writer != in.Vnode.Id || e.id != d.id || in.Volumes[0].Monitors[0].Away {
		t.Errorf("%v, %v", in, err)
	}
	if _, err := vnodes.ReportVNode(t.Context(), &api.ReportVNodeRequest{Processor: p, Vnode: &api.VNode{Id: in.Vnode.Id, Run: 1, State: api.VNodeState_VNODE_STATE_EXITED}}); err != nil {
		t.Fatal(err)
	}
	if v, err := volumes.GetVolume(t.Context(), &api.VolumeName{Name: "db"}); err != nil || v.Fence || v.Writer != 0 {
		t.Errorf("after its end: %v, %v", v, err)
	}
}
