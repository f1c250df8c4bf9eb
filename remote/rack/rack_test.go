package rack

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote"
	"splitvm/remote/api"
)

// global answers for a global monitor: one that leads, and counts, or one that
// does not.
type global struct {
	api.UnimplementedMembersServer
	leads bool

	mu         sync.Mutex
	registered int                     // guarded by mu
	beats      []*api.HeartbeatRequest // guarded by mu
	left       int                     // guarded by mu
	beaten     chan struct{}           // gets one for each heartbeat of who has joined again
}

func (g *global) follower() error {
	if g.leads {
		return nil
	}
	return status.Error(codes.Unavailable, "does not lead")
}

func (g *global) Register(context.Context, *api.RegisterRequest) (*api.RegisterResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.registered++
	return &api.RegisterResponse{Id: 7, TtlMs: 400}, g.follower()
}

// Heartbeat forgets the member at the third heartbeat, until it joins again.
func (g *global) Heartbeat(_ context.Context, r *api.HeartbeatRequest) (*api.HeartbeatResponse, error) {
	if err := g.follower(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.beats = append(g.beats, r)
	n, again := len(g.beats), g.registered > 1
	g.mu.Unlock()
	if n >= 3 && !again {
		return nil, status.Error(codes.NotFound, "who?")
	}
	if again {
		select {
		case g.beaten <- struct{}{}:
		default:
		}
	}
	return &api.HeartbeatResponse{Forget: r.Vregions[:1], ForgetEpochs: r.Epochs[:1], State: api.MemberState_MEMBER_STATE_DRAINING}, nil
}

func (g *global) Leave(context.Context, *api.LeaveRequest) (*api.LeaveResponse, error) {
	if err := g.follower(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left++
	return &api.LeaveResponse{}, nil
}

func serve(t *testing.T, g *global) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	api.RegisterMembersServer(s, g)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// A member finds the one that leads among three, tells what it holds, forgets
// what it is told to, joins again when it was forgotten itself, and leaves.
func TestKeep(t *testing.T) {
	leader := &global{leads: true, beaten: make(chan struct{}, 1)}
	addresses := serve(t, &global{}) + "," + serve(t, leader) + "," + serve(t, &global{})
	ctx, cancel := context.WithCancel(t.Context())
	forgotten := make(chan remote.Owned, 100)
	states := make(chan api.MemberState, 100)
	m := &Member{Global: []string{addresses}, Self: &api.Member{Role: api.Role_ROLE_MEMORY, Name: "m"},
		Report: func() (*api.Resources, []remote.VRegionStat) {
			return &api.Resources{}, []remote.VRegionStat{{VRegion: 1, Epoch: 3, Held: 2}, {VRegion: 2, Epoch: 4}}
		},
		Forget: func(list []remote.Owned) { forgotten <- list[0] },
		State:  func(s api.MemberState) { states <- s },
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil))}
	done := make(chan error, 1)
	go func() { done <- m.Keep(ctx) }()
	state, forgot := <-states, <-forgotten // of answers in time
	<-leader.beaten
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	leader.mu.Lock()
	defer leader.mu.Unlock()
	if leader.registered != 2 || leader.left != 1 || m.Self.Id != 7 {
		t.Errorf("registered %d times, want 2; left %d times, want 1; id %d", leader.registered, leader.left, m.Self.Id)
	}
	if b := leader.beats[0]; b.Instance == 0 || len(b.Vregions) != 2 || b.HeldBytes[0] != 2*remote.LineSize || forgot != (remote.Owned{VRegion: 1, Epoch: 3}) {
		t.Errorf("heartbeat %v", b)
	}
	if n := len(states); n != 0 || state != api.MemberState_MEMBER_STATE_DRAINING {
		t.Errorf("told of %v and %d more states, want one", state, n)
	}
}

func TestDialNothing(t *testing.T) {
	if _, err := Dial([]string{"", " , "}); err == nil {
		t.Error("no error for no address")
	}
}
