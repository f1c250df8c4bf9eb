package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"splitvm/ept/handoff"
	"splitvm/remote"
	"splitvm/remote/api"
)

// placeTime bounds the wait for a rack that places memory.
const placeTime = 30 * time.Second

// placeAll has the rack find owners for the vRegions of an attachment, and puts
// those in.
func placeAll(ctx context.Context, r rackOptions, a *handoff.Attach) error {
	conn, err := grpc.NewClient("unix:"+r.placer, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("processor monitor at %s: %w", r.placer, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, placeTime)
	defer cancel()
	in := &api.PlaceVRegionsRequest{Vnode: r.vnode, Run: r.run, Bytes: uint64(a.Layout.RegionLines) * remote.LineSize}
	for _, x := range a.Regions {
		in.Indices = append(in.Indices, x.Index)
	}
	out, err := api.NewVRegionsClient(conn).PlaceVRegions(ctx, in)
	if err != nil {
		return fmt.Errorf("place the memory: %w", err)
	}
	if len(out.Vregions) != len(a.Regions) {
		return fmt.Errorf("place the memory: asked for %d vRegions, got %d", len(a.Regions), len(out.Vregions))
	}
	index := map[uint64]uint16{}
	for _, o := range out.Owners {
		if len(o.Data) == 0 {
			return fmt.Errorf("place the memory: memory monitor %s has no address", o.Name)
		}
		index[o.Id] = uint16(len(a.Monitors))
		a.Monitors = append(a.Monitors, o.Data[0])
	}
	for i, x := range out.Vregions {
		g := handoff.Region{Index: x.Index, ID: remote.VRegionID(x.Id), Epoch: remote.Epoch(x.Epoch)}
		for _, o := range x.Owners {
			g.Owners = append(g.Owners, index[o])
		}
		a.Regions[i] = g
	}
	return nil
}
