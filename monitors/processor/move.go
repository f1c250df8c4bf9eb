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
	s.m.mu.Lock()
	x := s.m.runs[r.Vnode]
	s.m.mu.Unlock()
	if x == nil || x.vnode.Run != r.Run {
		return nil, status.Errorf(codes.NotFound, "run %d of vNode %d is not here", r.Run, r.Vnode)
	}
	var now handoff.MoveStatus
	form := url.Values{"index": {strconv.FormatUint(uint64(r.Index), 10)}, "epoch": {strconv.FormatUint(r.Epoch, 10)}, "to": {r.To}}
	if err := s.m.ask(ctx, x, http.MethodPost, "/vregion/move", form, &now); err != nil {
		return nil, status.Errorf(codes.Unavailable, "vNode %s: %v", x.vnode.Spec.Name, err)
	}
	answer := &api.MoveVRegionResponse{CopiedBytes: now.Copied * remote.LineSize, LeftBytes: now.Left * remote.LineSize, Reason: now.Reason}
	switch now.State {
	case handoff.MoveUnderWay:
		answer.State = api.MoveVRegionResponse_STATE_MOVING
	case handoff.MoveDone:
		answer.State = api.MoveVRegionResponse_STATE_MOVED
	case handoff.MoveFailed:
		answer.State = api.MoveVRegionResponse_STATE_FAILED
	default:
		return nil, status.Errorf(codes.Internal, "vNode %s: a move is in state %q", x.vnode.Spec.Name, now.State)
	}
	return answer, nil
}
