package global

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote/api"
)

// watching is a host that is told of its networks.
type watching struct {
	t      *testing.T
	stream api.Networks_WatchNetworksClient
}

func (g *running) watch(processor uint64, mesh string) *watching {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	g.t.Cleanup(cancel)
	s, err := api.NewNetworksClient(g.conn).WatchNetworks(ctx, &api.WatchNetworksRequest{Processor: processor, Mesh: mesh})
	if err != nil {
		g.t.Fatal(err)
	}
	return &watching{g.t, s}
}

// until reads tables until one says what is wanted.
func (w *watching) until(want string) {
	w.t.Helper()
	last := ""
	for last != want {
		table, err := w.stream.Recv()
		if err != nil {
			w.t.Fatalf("%v; the last table was %q, want %q", err, last, want)
		}
		var words []string
		for _, p := range table.Ports {
			words = append(words, fmt.Sprintf("%s/%s@%d", p.Network, p.Name, p.Processor))
		}
		for _, h := range table.Hosts {
			words = append(words, fmt.Sprintf("%d=%s", h.Processor, h.Mesh))
		}
		last = strings.Join(words, " ")
	}
}

// keep sends heartbeats of members until the test's end.
func (g *running) keep(ids ...uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sleep(ctx, 200*time.Millisecond) {
			for _, id := range ids { // a global monitor that has ended does not answer
				api.NewMembersClient(g.conn).Heartbeat(ctx, &api.HeartbeatRequest{Id: id, Instance: 1})
			}
		}
	}()
	g.t.Cleanup(func() { cancel(); <-done })
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (g *running) on(network, name string) *api.VNode {
	g.t.Helper()
	v, err := api.NewVNodesClient(g.conn).CreateVNode(g.t.Context(), &api.CreateVNodeRequest{Start: true,
		Spec: &api.VNodeSpec{Name: name, Network: network, MemoryBytes: 16 << 20, Bare: "verify"}})
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

func (g *running) report(v *api.VNode, state api.VNodeState) {
	g.t.Helper()
	_, err := api.NewVNodesClient(g.conn).ReportVNode(g.t.Context(), &api.ReportVNodeRequest{Processor: v.Processor, Vnode: &api.VNode{Id: v.Id, Run: v.Run, State: state}})
	if err != nil {
		g.t.Fatal(err)
	}
}

// A host is told of the vNodes on the networks that it has vNodes on, and of no others;
// where others take frames survives the global monitor.
func TestNetworks(t *testing.T) {
	dir := t.TempDir()
	g := start(t, dir)
	lines := g.memory("m", 64<<30)
	one := g.register(api.Role_ROLE_PROCESSOR, "p1", &api.Resources{Vcpus: 1, ExcacheBytes: 1 << 30})
	a := g.on("front", "a") // there is no other place yet
	two := g.register(api.Role_ROLE_PROCESSOR, "p2", &api.Resources{Vcpus: 2, ExcacheBytes: 1 << 30})
	g.keep(lines, one, two)
	b, c := g.on("front", "b"), g.on("back", "c")
	if a.Processor != one || b.Processor != two || c.Processor != two || !slices.Equal([]string{a.Vip, b.Vip, c.Vip}, []string{"10.88.0.2", "10.88.0.3", "10.88.0.4"}) {
		t.Fatalf("%v, %v, %v", a, b, c)
	}
	first := g.watch(one, "h1:1")
	first.until(fmt.Sprintf("front/a@%d front/b@%d %d=h1:1 %d=", one, two, one, two))
	second := g.watch(two, "h2:1")
	second.until(fmt.Sprintf("back/c@%d front/a@%d front/b@%d %d=h1:1 %d=h2:1", two, one, two, one, two))
	first.until(fmt.Sprintf("front/a@%d front/b@%d %d=h1:1 %d=h2:1", one, two, one, two))
	g.report(b, api.VNodeState_VNODE_STATE_EXITED)
	first.until(fmt.Sprintf("front/a@%d %d=h1:1", one, one))
	second.until(fmt.Sprintf("back/c@%d %d=h2:1", two, two))
	if _, err := api.NewVNodesClient(g.conn).StartVNode(t.Context(), &api.VNodeRef{Vnode: "b"}); err != nil {
		t.Fatal(err)
	}
	first.until(fmt.Sprintf("front/a@%d front/b@%d %d=h1:1 %d=h2:1", one, two, one, two))
	g.stop()

	g = start(t, dir)
	g.keep(lines, one, two)
	if _, err := api.NewVNodesClient(g.conn).ListVNodes(t.Context(), &api.ListVNodesRequest{}); err != nil { // waits until it leads
		t.Fatal(err)
	}
	g.watch(one, "h1:1").until(fmt.Sprintf("front/a@%d front/b@%d %d=h1:1 %d=h2:1", one, two, one, two))
	if _, err := g.watch(99, "h9:1").stream.Recv(); status.Code(err) != codes.NotFound {
		t.Errorf("a host that is none: %v", err)
	}
}
