package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
)

// runHere runs a vNode on this host and leaves word of its end for the processor
// monitor that may have started this process.
func runHere(ctx context.Context, o options) (int, error) {
	do := run
	if o.rack.bare != "" {
		do = runBare
	}
	status, err := do(ctx, o)
	return status, errors.Join(err, leaveStatus(o.rack.statusFile, status, err))
}

// runOnRack runs a vNode on a rack: to its end, with its output here and its
// status as ours; or detached.
func runOnRack(ctx context.Context, c *cli.Command, o options) error {
	return onRack(c, func(conn *grpc.ClientConn) error {
		v, err := createSpec(ctx, conn, rackSpec(c, o), true)
		if err != nil {
			return &exitError{exitRefused, plain(err)}
		}
		if c.Bool("detach") {
			fmt.Fprintln(c.Root().Writer, v.Spec.Name)
			return untilRuns(ctx, conn, v.Spec.Name)
		}
		v, err = attend(ctx, conn, v)
		if err != nil {
			return err
		}
		return vnodeEnd(v)
	})
}

// untilRuns waits until the guest of a vNode that was started runs, or has run.
func untilRuns(ctx context.Context, conn *grpc.ClientConn, name string) error {
	v, err := waitVNode(ctx, conn, name, func(v *api.VNode) bool { return v.State != api.VNodeState_VNODE_STATE_STARTING })
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: vNode %s is starting still; end it with `splitvm stop %[1]s`", name)
	case err != nil:
		return err
	case v.State == api.VNodeState_VNODE_STATE_FAILED:
		return &exitError{exitRefused, fmt.Errorf("vNode %s: %s (see `splitvm logs %[1]s`; remove it with `splitvm rm %[1]s`)", name, v.Reason)}
	}
	return nil
}

// attend shows a vNode's output until its end, and removes it then. If ctx ends
// before, so does the vNode.
func attend(ctx context.Context, conn *grpc.ClientConn, v *api.VNode) (*api.VNode, error) {
	vnodes := api.NewVNodesClient(conn)
	stop := context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		vnodes.StopVNode(late, &api.StopVNodeRequest{Vnode: v.Spec.Name})
	})
	defer stop()
	ctx = context.WithoutCancel(ctx)
	for {
		err := copyLogs(ctx, conn, v, true, os.Stdout, os.Stderr)
		now, werr := vnodes.GetVNode(ctx, &api.VNodeRef{Vnode: v.Spec.Name})
		if werr != nil {
			return nil, werr
		}
		if !running(now) {
			_, err := vnodes.RemoveVNode(ctx, &api.VNodeRef{Vnode: v.Spec.Name})
			return now, err
		}
		if err == nil { // its end is being reported
			if now, err = waitVNode(ctx, conn, v.Spec.Name, hasEnded); err != nil {
				return nil, err
			}
			_, err = vnodes.RemoveVNode(ctx, &api.VNodeRef{Vnode: v.Spec.Name})
			return now, err
		}
		time.Sleep(time.Second) // the processor monitor is away; the vNode goes on
	}
}

// vnodeEnd makes a vNode's end that of this process.
func vnodeEnd(v *api.VNode) error {
	switch {
	case v.State == api.VNodeState_VNODE_STATE_EXITED && v.ExitStatus == 0:
		return nil
	case v.State == api.VNodeState_VNODE_STATE_EXITED:
		return &exitError{code: int(v.ExitStatus)}
	}
	return &exitError{exitRefused, fmt.Errorf("vNode %s: %s", v.Spec.Name, v.Reason)}
}

// rackSpec is what `run` was asked for, as a vNode of a rack.
func rackSpec(c *cli.Command, o options) *api.VNodeSpec {
	s := &api.VNodeSpec{
		Name: c.String("name"), MemoryBytes: o.memory, Vcpus: uint32(o.vcpus), VregionBytes: o.rack.vregion,
		Excache: &api.ExCacheShare{LimitBytes: min(o.remote.excache, o.memory)},
		Kernel:  absolute(o.kernel), Initrd: absolute(o.initrd), Modules: absolute(o.modules), Cmdline: o.cmdline,
		Command: o.command, Env: o.env, Bare: o.rack.bare, Image: o.image.name,
	}
	for _, d := range c.StringSlice("disk") {
		s.Disks = append(s.Disks, absolute(d))
	}
	for _, name := range []string{"overlay", "verbose", "packed", "checksums", "read-only", "console"} {
		if c.Bool(name) {
			s.RunFlags = append(s.RunFlags, "--"+name)
		}
	}
	for _, name := range []string{"cpu", "workdir", "user", "prefetch", "evict-policy", "store", "entrypoint"} {
		if c.IsSet(name) {
			s.RunFlags = append(s.RunFlags, "--"+name, c.String(name))
		}
	}
	s.Publish = c.StringSlice("publish")
	for i, n := range o.nets {
		if n.tap == "" {
			s.Network = n.network
		} else {
			s.RunFlags = append(s.RunFlags, "--net", c.StringSlice("net")[i])
		}
	}
	repeated := []string{"storage-monitor"}
	if len(o.storage) == 0 {
		s.Volumes = o.volumeMounts()
	} else {
		repeated = append(repeated, "volume") // not the rack's
	}
	for _, name := range repeated {
		for _, value := range c.StringSlice(name) {
			s.RunFlags = append(s.RunFlags, "--"+name, value)
		}
	}
	return s
}
