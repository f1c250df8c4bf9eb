package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"splitvm/ept/handoff"
	"splitvm/remote"
	"splitvm/remote/api"
)

// placeTime bounds the wait for a rack that places memory; the pager asks again, and tells
// the reason when it has to give up.
const placeTime = 5 * time.Second

// rackPlacer asks the rack for the owners of vRegions.
type rackPlacer struct {
	rack  rackOptions
	bytes uint64 // of a vRegion
	conn  *grpc.ClientConn
}

func newRackPlacer(r rackOptions, a *handoff.Attach) (*rackPlacer, error) {
	conn, err := grpc.NewClient("unix:"+r.placer, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("processor monitor at %s: %w", r.placer, err)
	}
	return &rackPlacer{rack: r, bytes: uint64(a.Layout.RegionLines) * remote.LineSize, conn: conn}, nil
}

// place implements handoff.Placer.
func (p *rackPlacer) place(ctx context.Context, index uint32) (handoff.Placed, error) {
	ctx, cancel := context.WithTimeout(ctx, placeTime)
	defer cancel()
	out, err := api.NewVRegionsClient(p.conn).PlaceVRegions(ctx, &api.PlaceVRegionsRequest{
		Vnode: p.rack.vnode, Run: p.rack.run, Bytes: p.bytes, Indices: []uint32{index}})
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable: // as far as a processor monitor can tell
		err = errors.New("no global monitor has answered")
	}
	if err != nil {
		return handoff.Placed{}, fmt.Errorf("ask the rack: %w (`splitvm monitor ls` tells whether a global monitor answers, and which memory monitors there are)", plain(err))
	}
	if len(out.Vregions) != 1 || out.Vregions[0].Index != index {
		return handoff.Placed{}, fmt.Errorf("asked for vRegion %d, got %v", index, out.Vregions)
	}
	x := out.Vregions[0]
	placed := handoff.Placed{Index: index, ID: remote.VRegionID(x.Id), Epoch: remote.Epoch(x.Epoch)}
	for _, id := range x.Owners {
		for _, o := range out.Owners {
			if o.Id == id && len(o.Data) > 0 {
				placed.Owners = append(placed.Owners, o.Data[0])
			}
		}
	}
	if len(placed.Owners) != len(x.Owners) {
		return handoff.Placed{}, fmt.Errorf("vRegion %v: not all of its %d owners have an address", placed.ID, len(x.Owners))
	}
	return placed, nil
}

func (p *rackPlacer) close() error {
	if p == nil {
		return nil
	}
	return p.conn.Close()
}
