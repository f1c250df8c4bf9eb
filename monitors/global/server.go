package global

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"splitvm/remote/api"
	"splitvm/remote/rack"
)

// server answers while its monitor leads.
type server struct {
	api.UnimplementedMembersServer
	api.UnimplementedVNodesServer
	api.UnimplementedVRegionsServer
	api.UnimplementedVolumesServer
	api.UnimplementedEventsServer
	api.UnimplementedNetworksServer
	m *monitor
}

var (
	_ api.MembersServer  = (*server)(nil)
	_ api.VNodesServer   = (*server)(nil)
	_ api.VRegionsServer = (*server)(nil)
	_ api.VolumesServer  = (*server)(nil)
	_ api.EventsServer   = (*server)(nil)
	_ api.NetworksServer = (*server)(nil)
)

func newServer(m *monitor) *grpc.Server {
	g := grpc.NewServer(rack.ServerOptions()...)
	s := &server{m: m}
	api.RegisterMembersServer(g, s)
	api.RegisterVNodesServer(g, s)
	api.RegisterVRegionsServer(g, s)
	api.RegisterVolumesServer(g, s)
	api.RegisterEventsServer(g, s)
	api.RegisterNetworksServer(g, s)
	reflection.Register(g)
	return g
}

func notLeading(why error) error {
	return status.Errorf(codes.Unavailable, "this global monitor does not lead: %v", why)
}

// led calls do with the leader, if that is here. What a leader says whose leadership has
// ended meanwhile is not passed on: it may be of a change that could not be written.
func led[T any](s *server, do func(*leader) (T, error)) (T, error) {
	l := s.m.leader.Load()
	if l == nil || l.ctx.Err() != nil {
		var none T
		return none, status.Error(codes.Unavailable, "this global monitor does not lead")
	}
	answer, err := do(l)
	if err == nil && l.ctx.Err() != nil {
		var none T
		return none, notLeading(context.Cause(l.ctx))
	}
	return answer, err
}

func (s *server) Register(ctx context.Context, r *api.RegisterRequest) (*api.RegisterResponse, error) {
	return led(s, func(l *leader) (*api.RegisterResponse, error) { return l.register(ctx, r.GetMember()) })
}

func (s *server) Heartbeat(ctx context.Context, r *api.HeartbeatRequest) (*api.HeartbeatResponse, error) {
	return led(s, func(l *leader) (*api.HeartbeatResponse, error) { return l.heartbeat(ctx, r) })
}

func (s *server) Leave(_ context.Context, r *api.LeaveRequest) (*api.LeaveResponse, error) {
	return led(s, func(l *leader) (*api.LeaveResponse, error) { return l.leave(r) })
}

func (s *server) Drain(_ context.Context, r *api.DrainRequest) (*api.DrainStatus, error) {
	return led(s, func(l *leader) (*api.DrainStatus, error) { return l.drain(r) })
}

func (s *server) GetDrain(_ context.Context, r *api.DrainRef) (*api.DrainStatus, error) {
	return led(s, func(l *leader) (*api.DrainStatus, error) { return l.getDrain(r.Member) })
}

func (s *server) RemoveMember(_ context.Context, r *api.RemoveMemberRequest) (*api.DrainStatus, error) {
	return led(s, func(l *leader) (*api.DrainStatus, error) { return l.removeMember(r) })
}

func (s *server) Rebalance(_ context.Context, r *api.RebalanceRequest) (*api.RebalancePlan, error) {
	return led(s, func(l *leader) (*api.RebalancePlan, error) { return l.rebalance(r) })
}

func (s *server) ListMoves(context.Context, *api.ListMovesRequest) (*api.ListMovesResponse, error) {
	return led(s, func(l *leader) (*api.ListMovesResponse, error) { return l.listMoves(), nil })
}

func (s *server) ListMembers(_ context.Context, r *api.ListMembersRequest) (*api.ListMembersResponse, error) {
	return led(s, func(l *leader) (*api.ListMembersResponse, error) { return l.listMembers(r), nil })
}

func (s *server) CreateVNode(ctx context.Context, r *api.CreateVNodeRequest) (*api.VNode, error) {
	return led(s, func(l *leader) (*api.VNode, error) {
		v, err := l.create(r)
		if err != nil || !r.Start || v.Run > 0 { // a repeated request may have started it
			return v, err
		}
		return l.start(ctx, v.Spec.Name)
	})
}

func (s *server) StartVNode(ctx context.Context, r *api.VNodeRef) (*api.VNode, error) {
	return led(s, func(l *leader) (*api.VNode, error) { return l.start(ctx, r.Vnode) })
}

func (s *server) StopVNode(ctx context.Context, r *api.StopVNodeRequest) (*api.VNode, error) {
	return led(s, func(l *leader) (*api.VNode, error) { return l.stop(ctx, r) })
}

func (s *server) RemoveVNode(ctx context.Context, r *api.VNodeRef) (*api.RemoveVNodeResponse, error) {
	return led(s, func(l *leader) (*api.RemoveVNodeResponse, error) {
		return &api.RemoveVNodeResponse{}, l.remove(ctx, r.Vnode)
	})
}

func (s *server) GetVNode(_ context.Context, r *api.VNodeRef) (*api.VNode, error) {
	return led(s, func(l *leader) (*api.VNode, error) { return l.get(r.Vnode) })
}

func (s *server) ListVNodes(context.Context, *api.ListVNodesRequest) (*api.ListVNodesResponse, error) {
	return led(s, func(l *leader) (*api.ListVNodesResponse, error) { return l.listVNodes(), nil })
}

func (s *server) InspectVNode(_ context.Context, r *api.VNodeRef) (*api.InspectVNodeResponse, error) {
	return led(s, func(l *leader) (*api.InspectVNodeResponse, error) { return l.inspect(r.Vnode) })
}

func (s *server) ReportVNode(_ context.Context, r *api.ReportVNodeRequest) (*api.ReportVNodeResponse, error) {
	return led(s, func(l *leader) (*api.ReportVNodeResponse, error) { return l.report(r) })
}

func (s *server) PlaceVRegions(_ context.Context, r *api.PlaceVRegionsRequest) (*api.PlaceVRegionsResponse, error) {
	return led(s, func(l *leader) (*api.PlaceVRegionsResponse, error) { return l.placeVRegions(r) })
}

func (s *server) ListVRegions(_ context.Context, r *api.ListVRegionsRequest) (*api.ListVRegionsResponse, error) {
	return led(s, func(l *leader) (*api.ListVRegionsResponse, error) { return l.listVRegions(r.Vnode) })
}

func (s *server) CreateVolume(ctx context.Context, r *api.CreateVolumeRequest) (*api.VolumePlace, error) {
	return led(s, func(l *leader) (*api.VolumePlace, error) { return l.createVolume(ctx, r) })
}

func (s *server) BranchVolume(ctx context.Context, r *api.BranchVolumeRequest) (*api.VolumePlace, error) {
	return led(s, func(l *leader) (*api.VolumePlace, error) { return l.branchVolume(ctx, r) })
}

func (s *server) ResizeVolume(ctx context.Context, r *api.ResizeVolumeRequest) (*api.VolumePlace, error) {
	return led(s, func(l *leader) (*api.VolumePlace, error) { return l.resizeVolume(ctx, r) })
}

func (s *server) RemoveVolume(ctx context.Context, r *api.RemoveVolumeRequest) (*api.RemoveVolumeResponse, error) {
	return led(s, func(l *leader) (*api.RemoveVolumeResponse, error) {
		return &api.RemoveVolumeResponse{}, l.removeVolume(ctx, r)
	})
}

func (s *server) GetVolume(_ context.Context, r *api.VolumeName) (*api.VolumePlace, error) {
	return led(s, func(l *leader) (*api.VolumePlace, error) { return l.getVolume(r.Name) })
}

func (s *server) ListVolumes(context.Context, *api.ListVolumesRequest) (*api.ListVolumesResponse, error) {
	return led(s, func(l *leader) (*api.ListVolumesResponse, error) { return l.listVolumes(), nil })
}

func (s *server) WatchEvents(r *api.WatchEventsRequest, stream grpc.ServerStreamingServer[api.Event]) error {
	_, err := led(s, func(l *leader) (struct{}, error) {
		return struct{}{}, l.watch(stream.Context(), r.After, r.Follow, stream.Send)
	})
	return err
}

func (s *server) WatchNetworks(r *api.WatchNetworksRequest, stream grpc.ServerStreamingServer[api.NetworkTable]) error {
	_, err := led(s, func(l *leader) (struct{}, error) {
		return struct{}{}, l.watchNetworks(stream.Context(), r, stream.Send)
	})
	return err
}
