package tunnel

import (
	"context"
	"errors"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote/api"
)

// ServerStream is the monitor's end of a tunnel.
type ServerStream = grpc.BidiStreamingServer[api.ConnectRequest, api.ConnectResponse]

// chunk is how many bytes a message carries at most.
const chunk = 32 << 10

// Serve joins a tunnel with a connection to the vNode, until that side has said
// all, and closes it. The caller has taken the first request from the stream, and
// returns Serve's error from its handler at once: only that ends the goroutine
// which receives.
func Serve(stream ServerStream, conn *net.UnixConn) error {
	defer conn.Close()
	if err := stream.Send(&api.ConnectResponse{}); err != nil {
		return err
	}
	stop := context.AfterFunc(stream.Context(), func() { conn.Close() })
	defer stop()
	go receive(stream, conn)
	for b := make([]byte, chunk); ; {
		n, err := conn.Read(b)
		if n > 0 {
			if err := stream.Send(&api.ConnectResponse{Data: b[:n]}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case stream.Context().Err() != nil:
			return status.FromContextError(stream.Context().Err()).Err()
		case err != nil:
			return status.Errorf(codes.Aborted, "the vNode's control socket: %v", err)
		}
	}
}

// receive writes what the client sends to the socket. A client that has said all may
// still be told something; one that is gone ends the stream's context, upon which
// Serve closes the socket. What a vNode doesn't take any more is dropped, as it may
// have answered before it stopped, and Serve is to pass that on.
func receive(stream ServerStream, conn *net.UnixConn) {
	for takes := true; ; {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			conn.CloseWrite()
			return
		}
		if err != nil {
			return
		}
		if takes {
			_, err := conn.Write(r.Data)
			takes = err == nil
		}
	}
}
