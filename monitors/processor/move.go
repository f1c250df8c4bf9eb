package processor

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/ept/handoff"
	"splitvm/remote"
	"splitvm/remote/api"
)

// MoveVRegion implements api.ProcessorServer: the vNode's VMM does it.
func (s *server) MoveVRegion(ctx context.Context, r *api.MoveVRegionRequest) (*api.MoveVRegionResponse, error) {
	form := url.Values{"index": {strconv.FormatUint(uint64(r.Index), 10)}, "epoch": {strconv.FormatUint(r.Epoch, 10)}, "to": {r.To}}
	now, state, err := s.move(ctx, r.Vnode, r.Run, "/vregion/move", form)
	if err != nil {
		return nil, err
	}
	return &api.MoveVRegionResponse{State: state, CopiedBytes: now.Copied * remote.LineSize, LeftBytes: now.Left * remote.LineSize, Reason: now.Reason}, nil
}

// MoveVolume implements api.ProcessorServer, likewise.
func (s *server) MoveVolume(ctx context.Context, r *api.MoveVolumeRequest) (*api.MoveVolumeResponse, error) {
	form := url.Values{"name": {r.Name}, "number": {strconv.FormatUint(r.Number, 10)}, "from": {r.From}, "to": {r.To}}
	if r.Cancel {
		form.Set("cancel", "1")
	}
	now, state, err := s.move(ctx, r.Vnode, r.Run, "/volume/move", form)
	if err != nil {
		return nil, err
	}
	return &api.MoveVolumeResponse{State: state, Reason: now.Reason}, nil
}

// move asks the VMM of a run about a move.
func (s *server) move(ctx context.Context, vnode, run uint64, path string, form url.Values) (now handoff.MoveStatus, state api.MoveVRegionResponse_State, err error) {
	s.m.mu.Lock()
	x := s.m.runs[vnode]
	s.m.mu.Unlock()
	if x == nil || x.vnode.Run != run {
		return now, 0, status.Errorf(codes.NotFound, "run %d of vNode %d is not here", run, vnode)
	}
	if err := s.m.ask(ctx, x, http.MethodPost, path, form, &now); err != nil {
		return now, 0, status.Errorf(codes.Unavailable, "vNode %s: %v", x.vnode.Spec.Name, err)
	}
	state, ok := moveStates[now.State]
	if !ok {
		return now, 0, status.Errorf(codes.Internal, "vNode %s: a move is in state %q", x.vnode.Spec.Name, now.State)
	}
	return now, state, nil
}

var moveStates = map[handoff.MoveState]api.MoveVRegionResponse_State{
	handoff.MoveUnderWay: api.MoveVRegionResponse_STATE_MOVING,
	handoff.MoveDone:     api.MoveVRegionResponse_STATE_MOVED,
	handoff.MoveFailed:   api.MoveVRegionResponse_STATE_FAILED,
}
