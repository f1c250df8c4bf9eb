package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote/api"
	"splitvm/remote/tunnel"
)

// runningVNodes are those that a command may mean: those of this host, by their
// control sockets, and those of a rack, through the processor monitors that run
// them.
type runningVNodes struct{ c *cli.Command }

// dial connects with the control socket of the named vNode: one that runs on this
// host alone, or one of the rack. Where both have one of the name, it is the
// rack's if the command names a rack.
func (v runningVNodes) dial(ctx context.Context, name string) (net.Conn, error) {
	ways := []func(context.Context, string) (net.Conn, error){dialHere, v.dialRack}
	if v.c.IsSet("global") {
		slices.Reverse(ways)
	}
	var unknown []error
	for _, way := range ways {
		conn, err := way(ctx, name)
		if err == nil || !errors.Is(err, errNoVNode) {
			return conn, err
		}
		unknown = append(unknown, err)
	}
	return nil, fmt.Errorf("%w named %s is running: %w", errNoVNode, name, errors.Join(unknown...))
}

var errNoVNode = errors.New("no vNode")

// dialHere looks at the sockets of this host.
func dialHere(ctx context.Context, name string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", controlPath(name))
	if errors.Is(err, os.ErrNotExist) || refused(err) {
		return nil, fmt.Errorf("%w has the socket %s", errNoVNode, controlPath(name))
	}
	return conn, err
}

func (v runningVNodes) dialRack(ctx context.Context, name string) (net.Conn, error) {
	rack, err := dialRack(v.c)
	if err != nil {
		return nil, fmt.Errorf("%w of a rack: %w", errNoVNode, err)
	}
	defer rack.Close()
	conn, err := dialOnRack(ctx, rack, name)
	if status.Code(err) == codes.NotFound {
		return nil, fmt.Errorf("%w of the rack has this name", errNoVNode)
	}
	if err != nil {
		return nil, fmt.Errorf("vNode %s: %w", name, plain(err))
	}
	return conn, nil
}

// dialOnRack connects with the control socket of a vNode on whichever host it runs.
func dialOnRack(ctx context.Context, rack *grpc.ClientConn, name string) (net.Conn, error) {
	v, err := api.NewVNodesClient(rack).GetVNode(ctx, &api.VNodeRef{Vnode: name})
	if err != nil {
		return nil, err
	}
	if !running(v) {
		return nil, fmt.Errorf("it does not run (%s)", stateText(v))
	}
	m, err := processorOf(ctx, rack, v)
	if err != nil {
		return nil, err
	}
	return tunnel.Dial(ctx, m.Control, v.Id)
}
