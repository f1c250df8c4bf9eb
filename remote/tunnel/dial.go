package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"splitvm/remote/api"
)

// Keepalive (HTTP/2's PING) of both ends.
const (
	aliveEvery = 10 * time.Second // without traffic, until an end asks whether the other is there
	aliveTime  = 20 * time.Second // for the answer
)

// ServerOptions are those of a gRPC server with tunnels.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: aliveEvery, Timeout: aliveTime}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: aliveEvery / 2}),
		grpc.WaitForHandlers(true), // they have connections to close
	}
}

// Conn is the client's end of a tunnel. It has no deadlines; close it instead. One
// goroutine may read while another writes, and one must: a Write waits while 64 KiB or
// more of what the vNode said are not read, even if the vNode has ended by then.
type Conn struct {
	stream  grpc.BidiStreamingClient[api.ConnectRequest, api.ConnectResponse]
	cancel  context.CancelFunc
	conn    *grpc.ClientConn
	monitor string
	rest    []byte // received, and not read yet; the reader's
	once    sync.Once
	closed  chan struct{}
}

var _ net.Conn = (*Conn)(nil)

// Dial connects with a vNode at the processor monitor at address, HOST:PORT. ctx is
// for that only.
func Dial(ctx context.Context, address string, vnode uint64) (*Conn, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: aliveEvery, Timeout: aliveTime}))
	if err != nil {
		return nil, fmt.Errorf("processor monitor %s: %w", address, err)
	}
	living, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	c := &Conn{cancel: cancel, conn: conn, monitor: address, closed: make(chan struct{})}
	err = c.begin(living, vnode)
	if !stop() && err == nil { // too late: the stream is cancelled
		err = context.Cause(ctx)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("processor monitor %s: %w", address, err)
	}
	return c, nil
}

// begin waits until the monitor has joined the stream with the vNode.
func (c *Conn) begin(ctx context.Context, vnode uint64) (err error) {
	if c.stream, err = api.NewProcessorClient(c.conn).Connect(ctx); err != nil {
		return err
	}
	if err := c.stream.Send(&api.ConnectRequest{Vnode: vnode}); err != nil && !errors.Is(err, io.EOF) {
		return err // upon EOF, Recv tells why
	}
	_, err = c.stream.Recv()
	return err
}

// Read implements io.Reader.
func (c *Conn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		r, err := c.stream.Recv()
		if err != nil {
			return 0, c.fault(err)
		}
		c.rest = r.Data
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write implements io.Writer.
func (c *Conn) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m := min(len(p)-n, chunk)
		// gRPC has encoded the message when Send returns: p is the caller's again.
		if err := c.stream.Send(&api.ConnectRequest{Data: p[n : n+m]}); err != nil {
			if errors.Is(err, io.EOF) { // the stream has ended; Read tells why
				err = io.ErrClosedPipe
			}
			return n, c.fault(err)
		}
		n += m
	}
	return n, nil
}

// fault is an error of the stream as one of a connection.
func (c *Conn) fault(err error) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return fmt.Errorf("processor monitor %s: %w", c.monitor, err)
}

// CloseWrite says that all is said.
func (c *Conn) CloseWrite() error { return c.stream.CloseSend() }

// Close implements io.Closer. What was written may be lost, unless the vNode has
// answered it.
func (c *Conn) Close() error {
	var err error
	c.once.Do(func() {
		close(c.closed)
		c.cancel()
		err = c.conn.Close()
	})
	return err
}

type addr string

func (a addr) Network() string { return "tunnel" }
func (a addr) String() string  { return string(a) }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return addr("") }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return addr(c.monitor) }

// SetDeadline implements net.Conn; there are none.
func (c *Conn) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn; there are none.
func (c *Conn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn; there are none.
func (c *Conn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
