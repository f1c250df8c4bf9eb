package rack

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"splitvm/remote/api"
)

// patience is what a client has to notice that nobody is there: several times what it
// needs.
const patience = 3 * time.Minute

// telling sends one table and then nothing.
type telling struct {
	api.UnimplementedNetworksServer
}

func (telling) WatchNetworks(_ *api.WatchNetworksRequest, s grpc.ServerStreamingServer[api.NetworkTable]) error {
	if err := s.Send(&api.NetworkTable{Rack: 7}); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

// A stream ends when the global monitor's host is gone without a word, as after a
// loss of power.
func TestSilentGlobalMonitor(t *testing.T) {
	t.Parallel()
	server := listen(t)
	g := grpc.NewServer(ServerOptions()...)
	api.RegisterNetworksServer(g, telling{})
	go g.Serve(server)
	defer g.Stop()
	front := listen(t)
	var mu sync.Mutex
	silent := false
	go func() {
		for {
			in, err := front.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", server.Addr().String())
			if err != nil {
				in.Close()
				return
			}
			t.Cleanup(func() { in.Close(); out.Close() })
			carry := func(to io.WriteCloser, from io.Reader) {
				defer to.Close() // or the server's end waits two minutes for a greeting
				buf := make([]byte, 4096)
				for {
					n, err := from.Read(buf)
					if err != nil {
						return
					}
					mu.Lock()
					if !silent {
						to.Write(buf[:n])
					}
					mu.Unlock()
				}
			}
			go carry(in, out)
			go carry(out, in)
		}
	}()
	conn, err := Dial([]string{front.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := api.NewNetworksClient(conn).WatchNetworks(t.Context(), &api.WatchNetworksRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if table, err := stream.Recv(); err != nil || table.Rack != 7 {
		t.Fatalf("%v, %v", table, err)
	}
	mu.Lock()
	silent = true
	mu.Unlock()
	ended := make(chan error, 1)
	go func() {
		_, err := stream.Recv()
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a table came of nobody")
		}
	case <-time.After(patience):
		t.Errorf("the stream did not end in %v", patience)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
