package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"google.golang.org/grpc"

	"splitvm/remote/api"
	"splitvm/remote/rack"
)

// Watch is where a mesh gets its tables from.
type Watch struct {
	Global []string               // addresses of the global monitors
	Member func() (uint64, error) // the processor monitor's, which may change
	Mesh   string                 // where the mesh takes frames, as others reach it
	Apply  func(Table)
	Log    *slog.Logger
}

// maxTable is the largest table as a message: of all vNodes that there are addresses
// for, with long names.
const maxTable = 32 << 20

// Run applies each table until ctx ends. What the last one said holds while no
// global monitor answers.
func (w *Watch) Run(ctx context.Context) error {
	conn, err := rack.Dial(w.Global)
	if err != nil {
		return err
	}
	defer conn.Close()
	last := ""
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longPause) {
		got, err := w.follow(ctx, api.NewNetworksClient(conn))
		if got {
			pause = firstPause
		}
		if text := fmt.Sprint(err); ctx.Err() == nil && text != last {
			w.Log.Warn("network: the rack does not tell who is where: trying again", "err", err)
			last = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// follow applies tables for as long as they come.
func (w *Watch) follow(ctx context.Context, c api.NetworksClient) (got bool, err error) {
	id, err := w.Member()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.WatchNetworks(ctx, &api.WatchNetworksRequest{Processor: id, Mesh: w.Mesh}, grpc.MaxCallRecvMsgSize(maxTable))
	if err != nil {
		return false, err
	}
	for {
		t, err := stream.Recv()
		if err != nil {
			return got, err
		}
		got = true
		w.Apply(tableOf(t))
	}
}

// tableOf leaves out what has no address.
func tableOf(in *api.NetworkTable) Table {
	t := Table{Rack: in.Rack, Self: in.Processor, Hosts: map[uint64]string{}}
	for _, h := range in.Hosts {
		t.Hosts[h.Processor] = h.Mesh
	}
	for _, p := range in.Ports {
		if a, err := netip.ParseAddr(p.Vip); err == nil {
			t.Ports = append(t.Ports, Port{VNode: p.Vnode, Name: p.Name, Network: p.Network, Addr: a, Host: p.Processor})
		}
	}
	return t
}
