package main

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
)

func createCommand() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "make a vNode on a rack; start it with `splitvm start`",
		ArgsUsage: "[-- COMMAND [ARG...]]",
		Description: `Prints the name of the vNode.

Examples:
   splitvm create --name web1 --kernel vmlinuz --modules DIR --disk root.ext4 --mem 2G -- httpd -f
   splitvm create -f web1.yaml        # the fields of VNodeSpec in remote/api/vnode.proto`,
		Flags: specFlags(),
		Action: func(ctx context.Context, c *cli.Command) error {
			return onRack(c, func(conn *grpc.ClientConn) error {
				v, err := create(ctx, c, conn, false)
				if err != nil {
					return err
				}
				fmt.Fprintln(c.Root().Writer, v.Spec.Name)
				return nil
			})
		},
	}
}

// create makes the vNode that the flags describe.
func create(ctx context.Context, c *cli.Command, conn *grpc.ClientConn, start bool) (*api.VNode, error) {
	s, err := specOf(c)
	if err != nil {
		return nil, err
	}
	return createSpec(ctx, conn, s, start)
}

func createSpec(ctx context.Context, conn *grpc.ClientConn, s *api.VNodeSpec, start bool) (*api.VNode, error) {
	return api.NewVNodesClient(conn).CreateVNode(ctx, &api.CreateVNodeRequest{Spec: s, Start: start, RequestId: rand.Text()})
}
