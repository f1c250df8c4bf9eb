package processor

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote/tunnel"
)

// socketTime is what a VMM that was started has to make its control socket.
const socketTime = 10 * time.Second

// Connect implements api.ProcessorServer.
func (s *server) Connect(stream tunnel.ServerStream) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	s.m.mu.Lock()
	r := s.m.runs[first.Vnode]
	s.m.mu.Unlock()
	if r == nil {
		return status.Errorf(codes.NotFound, "vNode %d does not run here", first.Vnode)
	}
	conn, err := s.m.dialVMM(stream.Context(), r)
	if err != nil {
		return err
	}
	return tunnel.Serve(stream, conn)
}

// dialVMM connects with the control socket of a run, which a VMM that was only just
// started makes soon.
func (m *monitor) dialVMM(ctx context.Context, r *run) (*net.UnixConn, error) {
	ctx, cancel := context.WithTimeout(ctx, socketTime)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", m.control(r.vnode))
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		select {
		case <-r.done:
			return nil, status.Errorf(codes.NotFound, "vNode %s has ended", r.vnode.Spec.Name)
		case <-ctx.Done():
			return nil, status.Errorf(codes.FailedPrecondition, "vNode %s does not answer: %v", r.vnode.Spec.Name, err)
		case <-m.ctx.Done():
			return nil, status.Error(codes.Unavailable, "the processor monitor is ending")
		case <-time.After(lookTime):
		}
	}
}
