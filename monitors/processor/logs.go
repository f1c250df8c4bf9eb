package processor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote/api"
)

// lookTime is how often a followed log is looked at.
const lookTime = 50 * time.Millisecond

// Logs implements api.ProcessorServer.
func (s *server) Logs(r *api.LogsRequest, stream grpc.ServerStreamingServer[api.LogsResponse]) error {
	dir := s.m.vnodeDir(r.Vnode)
	out, err := os.Open(filepath.Join(dir, "out"))
	if err != nil {
		return status.Errorf(codes.NotFound, "vNode %d has printed nothing here", r.Vnode)
	}
	defer out.Close()
	errs, err := os.Open(filepath.Join(dir, "err"))
	if err != nil {
		return fmt.Errorf("logs of vNode %d: %w", r.Vnode, err)
	}
	defer errs.Close()
	for {
		over := !r.Follow || s.m.over(r.Vnode) // before the last look
		if err := errors.Join(send(stream, api.LogsResponse_STREAM_OUT, out), send(stream, api.LogsResponse_STREAM_ERR, errs)); err != nil || over {
			return err
		}
		if !pause(stream.Context(), s.m.ctx) {
			return nil
		}
	}
}

// over tells whether a vNode does not run here.
func (m *monitor) over(id uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.runs[id] == nil
}

// pause waits a little; false if one of the contexts ended.
func pause(a, b context.Context) bool {
	select {
	case <-a.Done():
		return false
	case <-b.Done():
		return false
	case <-time.After(lookTime):
		return true
	}
}

// send sends what was added to a log.
func send(stream grpc.ServerStreamingServer[api.LogsResponse], which api.LogsResponse_Stream, f *os.File) error {
	for {
		b := make([]byte, 32<<10)
		n, err := f.Read(b)
		if n > 0 {
			if err := stream.Send(&api.LogsResponse{Stream: which, Data: b[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
