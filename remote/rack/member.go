package rack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"splitvm/remote"
	"splitvm/remote/api"
)

// Member is a monitor that wants to be part of a rack.
type Member struct {
	Global []string // addresses of the global monitors
	// Self describes the monitor. Its id is 0, or the one that it had before.
	Self *api.Member
	// Report tells, for each heartbeat, what is in use and, at a memory
	// monitor, every vRegion that is held. May be nil.
	Report func() (*api.Resources, []remote.VRegionStat)
	// Forget is given the reported vRegions that the monitor does not own any more,
	// under the epochs that were reported. May be nil.
	Forget func([]remote.Owned)
	// State is told when the rack gives the monitor another state. May be nil.
	State func(api.MemberState)
	// Joined is called with the member's id after each registration. May be nil.
	Joined func(id remote.MonitorID)
	// Stay tells, at the end, whether to stay a member until the lease ends: for a
	// monitor that is being restarted. May be nil.
	Stay func() bool
	Log  *slog.Logger
}

// leaveTime bounds the goodbye to a rack that may be gone.
const leaveTime = 2 * time.Second

// errForgotten is that the rack does not know the member any more.
var errForgotten = errors.New("the rack does not know this monitor any more")

// Keep registers the monitor and renews its lease until ctx ends; then it
// leaves. A rack that can't be reached is tried again, for as long as it takes:
// only a refusal to register is an error.
func (m *Member) Keep(ctx context.Context) error {
	conn, err := Dial(m.Global)
	if err != nil {
		return err
	}
	defer conn.Close()
	members := api.NewMembersClient(conn)
	if m.Self.Instance == 0 {
		m.Self.Instance = rand.Uint64() | 1
	}
	for ctx.Err() == nil {
		ttl, err := m.register(ctx, members)
		if err != nil {
			return err
		}
		if ctx.Err() == nil {
			m.beat(ctx, members, ttl)
		}
	}
	if m.Self.Id == 0 || m.Stay != nil && m.Stay() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	if _, err := members.Leave(ctx, &api.LeaveRequest{Id: m.Self.Id, Instance: m.Self.Instance}); err != nil {
		m.Log.Warn("could not leave the rack; the lease ends by itself", "err", err)
	}
	return nil
}

// register tries until the rack answers.
func (m *Member) register(ctx context.Context, members api.MembersClient) (ttl time.Duration, err error) {
	for {
		r := &api.RegisterRequest{Member: proto.CloneOf(m.Self)}
		if m.Report != nil {
			r.Member.Used, _ = m.Report()
		}
		answer, err := members.Register(ctx, r)
		switch {
		case err == nil:
			m.Self.Id = answer.Id
			m.Log.Info("joined the rack", "member", answer.Id, "role", m.Self.Role.String())
			if m.Joined != nil {
				m.Joined(remote.MonitorID(answer.Id))
			}
			return time.Duration(answer.TtlMs) * time.Millisecond, nil
		case ctx.Err() != nil:
			return 0, nil
		case passing(err):
			m.Log.Warn("the rack can't be reached; trying again", "global", m.Global, "err", err)
		default:
			return 0, fmt.Errorf("join the rack: %s", status.Convert(err).Message())
		}
		select {
		case <-ctx.Done():
		case <-time.After(longPause):
		}
	}
}

// passing tells whether an error may be gone at the next attempt.
func passing(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.AlreadyExists, codes.Unimplemented, codes.PermissionDenied:
		return false
	}
	return true
}

// beat sends heartbeats until ctx ends or the rack has forgotten the member.
func (m *Member) beat(ctx context.Context, members api.MembersClient, ttl time.Duration) {
	tick := time.NewTicker(max(ttl/4, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := m.once(ctx, members, ttl)
		switch {
		case errors.Is(err, errForgotten):
			m.Log.Warn("the rack does not know this monitor any more; joining again", "member", m.Self.Id)
			return
		case err != nil && ctx.Err() == nil:
			m.Log.Warn("heartbeat", "err", err)
		}
	}
}

func (m *Member) once(ctx context.Context, members api.MembersClient, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, ttl)
	defer cancel()
	r := &api.HeartbeatRequest{Id: m.Self.Id, Instance: m.Self.Instance}
	if m.Report != nil {
		used, held := m.Report()
		r.Used = used
		for _, at := range held {
			r.Vregions = append(r.Vregions, uint64(at.VRegion))
			r.Epochs = append(r.Epochs, uint64(at.Epoch))
			r.HeldBytes = append(r.HeldBytes, uint64(at.Held)*remote.LineSize)
		}
	}
	answer, err := members.Heartbeat(ctx, r)
	if status.Code(err) == codes.NotFound {
		return errForgotten
	}
	if err != nil {
		return err
	}
	if m.State != nil && answer.State != m.Self.State {
		m.State(answer.State)
	}
	m.Self.State = answer.State
	if n := len(answer.Forget); n > 0 && n == len(answer.ForgetEpochs) && m.Forget != nil {
		var list []remote.Owned
		for i, id := range answer.Forget {
			list = append(list, remote.Owned{VRegion: remote.VRegionID(id), Epoch: remote.Epoch(answer.ForgetEpochs[i])})
		}
		m.Forget(list)
	}
	return nil
}
