package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
)

// rackLogs shows what a vNode of a rack printed.
func rackLogs(ctx context.Context, c *cli.Command, ref string) error {
	return onRack(c, func(conn *grpc.ClientConn) error {
		v, err := api.NewVNodesClient(conn).GetVNode(ctx, &api.VNodeRef{Vnode: ref})
		if err != nil {
			return err
		}
		return copyLogs(ctx, conn, v, c.Bool("follow"), os.Stdout, os.Stderr)
	})
}

// copyLogs copies what a vNode printed, until it ends if follow is set.
func copyLogs(ctx context.Context, conn *grpc.ClientConn, v *api.VNode, follow bool, out, errs io.Writer) error {
	return onProcessor(ctx, conn, v, func(p api.ProcessorClient) error {
		stream, err := p.Logs(ctx, &api.LogsRequest{Vnode: v.Id, Follow: follow})
		for err == nil {
			var r *api.LogsResponse
			if r, err = stream.Recv(); err != nil {
				break
			}
			to := out
			if r.Stream == api.LogsResponse_STREAM_ERR {
				to = errs
			}
			_, err = to.Write(r.Data)
		}
		if errors.Is(err, io.EOF) || follow && ctx.Err() != nil {
			return nil
		}
		return err
	})
}
