package main

import (
	"context"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
)

func rmCommand() *cli.Command {
	return &cli.Command{
		Name: "rm", Usage: "remove vNodes that do not run, and their logs", ArgsUsage: "VNODE...", Flags: []cli.Flag{globalFlag()},
		Description: `Volumes stay: ` + "`splitvm volume rm`" + ` deletes those.

Example:
   splitvm rm web1 web2`,
		Action: func(ctx context.Context, c *cli.Command) error {
			return eachVNode(c, func(conn *grpc.ClientConn, ref string) error {
				_, err := api.NewVNodesClient(conn).RemoveVNode(ctx, &api.VNodeRef{Vnode: ref})
				return err
			})
		},
	}
}
