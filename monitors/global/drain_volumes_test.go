package global

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote/api"
)

// A storage monitor whose volumes have no room elsewhere is not drained, and what was
// promised for some of them meanwhile is free again.
func TestDrainWithoutRoom(t *testing.T) {
	g := start(t, t.TempDir())
	a := g.disk("a", 0)
	client, members := api.NewVolumesClient(g.conn), api.NewMembersClient(g.conn)
	create := func(name string, gib uint64) error {
		_, err := client.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: name, Bytes: gib << 30})
		return err
	}
	for name, gib := range map[string]uint64{"little": 2, "much": 7} { // of 10
		if err := create(name, gib); err != nil {
			t.Fatal(err)
		}
	}
	drain := func(cancel bool) error {
		_, err := members.Drain(t.Context(), &api.DrainRequest{Member: "a", Cancel: cancel})
		return err
	}
	if err := drain(false); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "splitvm monitor storage") {
		t.Errorf("the only one: %v", err)
	}
	g.disk("b", 0)
	if err := create("other", 4); err != nil { // at b
		t.Fatal(err)
	}
	if err := drain(false); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "no room for 1 of the 2 volumes") {
		t.Errorf("without room: %v", err)
	}
	if err := drain(true); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("cancelled though it was refused: %v", err)
	}
	if err := create("rest", 6); err != nil {
		t.Errorf("what b had free is not: %v", err)
	}
	for _, name := range []string{"little", "much"} {
		if v, err := client.GetVolume(t.Context(), &api.VolumeName{Name: name}); err != nil || v.MovesTo != 0 || v.Replicas[0] != a.id {
			t.Errorf("%v, %v", v, err)
		}
	}
}

// A volume whose old and new monitor are both lost in the middle of its move is
// removed by force, and what was promised for it is free again.
func TestRemoveWhileMoving(t *testing.T) {
	g := start(t, t.TempDir())
	a := g.disk("a", 0)
	client, members := api.NewVolumesClient(g.conn), api.NewMembersClient(g.conn)
	if _, err := client.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: "v", Bytes: 6 << 30}); err != nil {
		t.Fatal(err)
	}
	b := g.disk("b", 0)
	if _, err := members.Drain(t.Context(), &api.DrainRequest{Member: "a"}); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(time.Minute)
	for !b.has(t, "v") { // these monitors have no data path: it gets no further
		if time.Now().After(end) {
			t.Fatal("no target was made")
		}
		time.Sleep(10 * time.Millisecond)
	}
	a.stop()
	b.stop()
	if _, err := client.RemoveVolume(t.Context(), &api.RemoveVolumeRequest{Name: "v"}); err == nil {
		t.Error("removed while it moves")
	}
	for {
		_, err := client.RemoveVolume(t.Context(), &api.RemoveVolumeRequest{Name: "v", Force: true})
		if err == nil {
			break
		}
		if status.Code(err) != codes.Aborted || time.Now().After(end) { // a try of the move is under way
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	g.disk("c", 0)
	if _, err := client.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: "w", Bytes: 9 << 30, Replicas: 2}); err == nil || !strings.Contains(err.Error(), "make volume") {
		t.Errorf("placed at b and c, where b does not answer: %v", err)
	}
}

// A rebalance evens out what storage monitors have promised, with one replica of a volume
// at most, and none where another one is, and leaves alone what shares blocks or is read.
func TestRebalanceVolumesPlan(t *testing.T) {
	g := start(t, t.TempDir())
	a := g.disk("a", 0)
	client, members := api.NewVolumesClient(g.conn), api.NewMembersClient(g.conn)
	create := func(name string, gib uint64, replicas uint32) {
		t.Helper()
		if _, err := client.CreateVolume(t.Context(), &api.CreateVolumeRequest{Name: name, Bytes: gib << 30, Replicas: replicas}); err != nil {
			t.Fatal(err)
		}
	}
	plan := func(role api.Role) (names []string) {
		t.Helper()
		p, err := members.Rebalance(t.Context(), &api.RebalanceRequest{DryRun: true, Role: role})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Steps {
			names = append(names, s.Volume)
		}
		return names
	}
	create("base", 1, 1)
	if _, err := client.BranchVolume(t.Context(), &api.BranchVolumeRequest{Name: "base", NewName: "clone"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x", "y", "z"} {
		create(name, 2, 1)
	}
	if names := plan(0); len(names) != 0 {
		t.Errorf("one monitor: %v", names)
	}
	b := g.disk("b", 0)
	names := plan(0)
	if len(names) != 2 || slices.Contains(names, "base") || slices.Contains(names, "clone") {
		t.Errorf("of 8 GiB 4 are to move, and no clone: %v", names)
	}
	if names := plan(api.Role_ROLE_MEMORY); len(names) != 0 {
		t.Errorf("memory only: %v", names)
	}
	p, err := members.Rebalance(t.Context(), &api.RebalanceRequest{})
	if err != nil || len(p.Steps) != 2 || p.Steps[0].From != a.id || p.Steps[0].To != b.id {
		t.Fatalf("%v, %v", p, err)
	}
	moves, err := members.ListMoves(t.Context(), &api.ListMovesRequest{})
	if err != nil || len(moves.Volumes) != 2 {
		t.Errorf("%v, %v", moves, err)
	}
	if names := plan(0); len(names) != 2 {
		t.Errorf("while they move: %v", names)
	}
}
