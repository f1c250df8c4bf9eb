package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote"
	"splitvm/remote/api"
)

func vregionCommand() *cli.Command {
	return &cli.Command{
		Name: "vregion", Usage: "see where memory is",
		Description: `A vNode's memory is cut into vRegions, each of which has memory monitors as owners.

Example:
   splitvm vregion ls web1`,
		Commands: []*cli.Command{complete(vregionLsCommand(), 1, vnodesThat(anyVNode))},
	}
}

func vregionLsCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Usage: "list the vRegions of a vNode, or of all", ArgsUsage: "[VNODE]",
		Description: `HELD is what owners have in memory of it, as of their last heartbeats.

Examples:
   splitvm vregion ls
   splitvm vregion ls web1 -o json`,
		Flags: []cli.Flag{globalFlag(), outputFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			return onRack(c, func(conn *grpc.ClientConn) error {
				r, err := api.NewVRegionsClient(conn).ListVRegions(ctx, &api.ListVRegionsRequest{Vnode: c.Args().First()})
				if err != nil {
					return err
				}
				names, err := memberNames(ctx, conn)
				if err != nil {
					return err
				}
				t := table{head: []string{"VREGION", "VNODE", "INDEX", "SIZE", "HELD", "EPOCH", "OWNERS", "MOVES TO", "WHY"}}
				for _, x := range r.Vregions {
					t.rows = append(t.rows, []string{remote.VRegionID(x.Id).String(), strconv.FormatUint(x.Vnode, 10), strconv.Itoa(int(x.Index)),
						units.BytesSize(float64(x.Bytes)), units.BytesSize(float64(x.HeldBytes)), fmt.Sprint(x.Epoch), names(x.Owners...), names(x.Target), x.Why})
				}
				return print(c, messages(r.Vregions), t)
			})
		},
	}
}
