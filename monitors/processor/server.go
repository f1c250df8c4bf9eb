package processor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote/api"
)

// server is what the global monitor and watchers of a vNode call.
type server struct {
	api.UnimplementedProcessorServer
	m *monitor
}

var _ api.ProcessorServer = (*server)(nil)

// Launch implements api.ProcessorServer.
func (s *server) Launch(_ context.Context, r *api.LaunchRequest) (*api.LaunchResponse, error) {
	if v := r.Vnode; v.GetSpec().GetName() == "" || v.Spec.Excache == nil || v.Id == 0 {
		return nil, status.Error(codes.InvalidArgument, "launch: the vNode is not complete")
	}
	if len(r.Volumes) != len(r.Vnode.Spec.Volumes) {
		return nil, status.Errorf(codes.InvalidArgument, "launch: the vNode has %d volumes, and the places of %d are given", len(r.Vnode.Spec.Volumes), len(r.Volumes))
	}
	return &api.LaunchResponse{}, s.m.launch(r.Vnode, r.Volumes)
}

// End implements api.ProcessorServer.
func (s *server) End(_ context.Context, r *api.EndRequest) (*api.EndResponse, error) {
	s.m.mu.Lock()
	x := s.m.runs[r.Vnode]
	s.m.mu.Unlock()
	if x == nil || x.vnode.Run != r.Run {
		return nil, status.Errorf(codes.NotFound, "run %d of vNode %d is not here", r.Run, r.Vnode)
	}
	why := "stopped"
	if r.Kill {
		why = "killed"
	}
	x.end(r.Kill, why)
	return &api.EndResponse{}, nil
}

// Forget implements api.ProcessorServer.
func (s *server) Forget(ctx context.Context, r *api.ForgetRequest) (*api.ForgetResponse, error) {
	if err := s.m.stopped(ctx, r.Vnode); err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "vNode %d still ends: %v", r.Vnode, err)
	}
	return &api.ForgetResponse{}, os.RemoveAll(s.m.vnodeDir(r.Vnode))
}

// placing passes VMMs' requests for vRegions on to the GMM.
type placing struct {
	api.UnimplementedVRegionsServer
	m *monitor
}

// PlaceVRegions implements api.VRegionsServer.
func (p *placing) PlaceVRegions(ctx context.Context, r *api.PlaceVRegionsRequest) (*api.PlaceVRegionsResponse, error) {
	return p.m.vregions.PlaceVRegions(ctx, r)
}

// listenPlacer makes the socket for VMMs; one that is there was left by an earlier
// monitor of this folder.
func (m *monitor) listenPlacer() (net.Listener, error) {
	if c, err := net.Dial("unix", m.placerPath()); err == nil {
		c.Close()
		return nil, fmt.Errorf("another processor monitor runs in %s", m.cfg.Dir)
	}
	if err := os.Remove(m.placerPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", m.placerPath())
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(m.placerPath(), 0o600)
}
