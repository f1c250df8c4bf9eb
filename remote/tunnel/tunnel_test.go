package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote/api"
)

// monitor serves tunnels to the socket at path, for vNode 7.
type monitor struct {
	api.UnimplementedProcessorServer
	path string
}

func (m *monitor) Connect(s ServerStream) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	if first.Vnode != 7 {
		return status.Error(codes.NotFound, "no such vNode")
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: m.path, Net: "unix"})
	if err != nil {
		return err
	}
	return Serve(s, conn)
}

// serve starts a monitor, and calls vnode with each connection that comes to the
// vNode's socket.
func serve(t *testing.T, vnode func(*net.UnixConn)) (address string, stop func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			go vnode(c)
		}
	}()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(ServerOptions()...)
	api.RegisterProcessorServer(s, &monitor{path: path})
	go s.Serve(tcp)
	t.Cleanup(s.Stop)
	return tcp.Addr().String(), s.Stop
}

func dial(t *testing.T, address string) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), address, 7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// echo sends back what comes, and a word more when all is said.
func echo(c *net.UnixConn) {
	defer c.Close()
	io.Copy(c, c)
	c.Write([]byte("bye"))
}

// All bytes arrive, both ways, many at a time; a half that is closed is closed there
// too, and its answer still comes.
func TestTunnel(t *testing.T) {
	address, _ := serve(t, echo)
	sent := make([]byte, 3<<20+5)
	rand.Read(sent)
	c := dial(t, address)
	wrote := make(chan error, 1)
	go func() {
		_, err := io.Copy(struct{ io.Writer }{c}, bytes.NewReader(sent))
		wrote <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if err != nil || <-wrote != nil {
		t.Fatal(err)
	}
	if want := append(sent, "bye"...); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, not the %d that were sent", len(got), len(want))
	}
}

// A client that goes ends the vNode's connection, and a vNode that goes the
// client's; so does the monitor.
func TestTunnelEnds(t *testing.T) {
	conns := make(chan *net.UnixConn, 4)
	address, stop := serve(t, func(c *net.UnixConn) { conns <- c })
	c := dial(t, address)
	there := <-conns
	c.Close()
	if _, err := there.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the vNode's end after the client's close: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read after close: %v", err)
	}
	c = dial(t, address)
	there = <-conns
	there.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the vNode's end: %v", err)
	}
	c = dial(t, address)
	<-conns
	go stop()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after the monitor's end: %v", err)
	}
}

// A tunnel to what is not there is an error of Dial, and ctx bounds it.
func TestDialNothing(t *testing.T) {
	address, _ := serve(t, echo)
	if _, err := Dial(t.Context(), address, 8); status.Code(err) != codes.NotFound {
		t.Errorf("no such vNode: %v", err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if c, err := Dial(ctx, silent.Addr().String(), 7); err == nil || !strings.Contains(err.Error(), silent.Addr().String()) {
		t.Errorf("nobody there: %v, %v", c, err)
	}
}

// What a vNode has answered arrives whole although it ended while the client still
// sent.
func TestAnswerOutlivesTheVNode(t *testing.T) {
	answer := bytes.Repeat([]byte("answer"), 20_000) // more than gRPC takes at once, less than the socket
	gone := make(chan struct{})
	address, _ := serve(t, func(c *net.UnixConn) {
		defer close(gone)
		defer c.Close()
		if err := c.SetWriteBuffer(1 << 20); err != nil {
			t.Error(err)
		}
		c.Write(answer)
	})
	c := dial(t, address)
	<-gone
	c.Write([]byte("more")) // fails if the stream has ended by now
	got := make([]byte, len(answer))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, answer) {
		t.Fatalf("%d of %d bytes, %v", n, len(answer), err)
	}
}
