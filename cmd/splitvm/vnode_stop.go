package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
)

// stopTime is more than a processor monitor gives a VMM to end.
const stopTime = 30 * time.Second

func stopCommand() *cli.Command {
	return &cli.Command{
		Name: "stop", Usage: "ask running vNodes to end, and wait; after 10 seconds they are killed", ArgsUsage: "VNODE...", Flags: []cli.Flag{globalFlag()},
		Description: `Example:
   splitvm stop web1`,
		Action: func(ctx context.Context, c *cli.Command) error { return stopEach(ctx, c, false) },
	}
}

func killCommand() *cli.Command {
	return &cli.Command{
		Name: "kill", Usage: "end running vNodes at once", ArgsUsage: "VNODE...", Flags: []cli.Flag{globalFlag()},
		Description: `Example:
   splitvm kill web1`,
		Action: func(ctx context.Context, c *cli.Command) error { return stopEach(ctx, c, true) },
	}
}

func stopEach(ctx context.Context, c *cli.Command, kill bool) error {
	return eachVNode(c, func(conn *grpc.ClientConn, ref string) error {
		if _, err := api.NewVNodesClient(conn).StopVNode(ctx, &api.StopVNodeRequest{Vnode: ref, Kill: kill}); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, stopTime)
		defer cancel()
		v, err := waitVNode(ctx, conn, ref, hasEnded)
		if err != nil {
			return fmt.Errorf("wait for the end of vNode %s: %w", ref, err)
		}
		if running(v) {
			return fmt.Errorf("vNode %s was started again", ref)
		}
		return nil
	})
}

func running(v *api.VNode) bool {
	return v.State == api.VNodeState_VNODE_STATE_STARTING || v.State == api.VNodeState_VNODE_STATE_RUNNING
}

func hasEnded(v *api.VNode) bool { return !running(v) }

// waitVNode returns a vNode when it is so.
func waitVNode(ctx context.Context, conn *grpc.ClientConn, ref string, so func(*api.VNode) bool) (*api.VNode, error) {
	for {
		v, err := api.NewVNodesClient(conn).GetVNode(ctx, &api.VNodeRef{Vnode: ref})
		if err != nil || so(v) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
