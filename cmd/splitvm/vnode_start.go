package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
)

func startCommand() *cli.Command {
	return &cli.Command{
		Name: "start", Usage: "start vNodes of a rack", ArgsUsage: "VNODE...", Flags: []cli.Flag{globalFlag()},
		Description: `Those that were made by create, or have ended. It returns when their guests run.

Example:
   splitvm start web1 web2`,
		Action: func(ctx context.Context, c *cli.Command) error {
			return eachVNode(c, func(conn *grpc.ClientConn, ref string) error {
				v, err := api.NewVNodesClient(conn).StartVNode(ctx, &api.VNodeRef{Vnode: ref})
				if err != nil {
					return err
				}
				return untilRuns(ctx, conn, v.Spec.Name)
			})
		},
	}
}

// eachVNode does the same to each vNode that is named, and prints the names of
// those where it was done.
func eachVNode(c *cli.Command, do func(conn *grpc.ClientConn, ref string) error) error {
	if !c.Args().Present() {
		return &exitError{exitUsage, fmt.Errorf("%s: give the names of vNodes (see `splitvm %s --help`)", c.Name, c.Name)}
	}
	return onRack(c, func(conn *grpc.ClientConn) error {
		var errs []error
		for _, ref := range c.Args().Slice() {
			if err := do(conn, ref); err != nil {
				errs = append(errs, plain(err))
				continue
			}
			fmt.Fprintln(c.Root().Writer, ref)
		}
		return errors.Join(errs...)
	})
}
