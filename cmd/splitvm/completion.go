package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
)

const completionDescription = `The names of a rack's vNodes, monitors and volumes are asked of the rack of --global
or SPLITVM_GLOBAL, or of the one on this host.

Examples:
   source <(splitvm completion bash)     # in ~/.bashrc
   source <(splitvm completion zsh)      # in ~/.zshrc
   splitvm completion fish > ~/.config/fish/completions/splitvm.fish`

// namer lists what may be the next argument of a command. A rack that does not
// answer has no names.
type namer func(ctx context.Context, c *cli.Command, rack *grpc.ClientConn) []string

// completing tells whether a shell asks what may come next.
func completing(c *cli.Command) bool {
	args := argumentsOf(c)
	return len(args) > 0 && args[len(args)-1] == "--generate-shell-completion"
}

// completionTime bounds the wait of somebody who has pressed Tab.
const completionTime = time.Second

// complete makes a command complete its arguments, most of them at once.
func complete(c *cli.Command, most int, names namer) *cli.Command {
	c.ShellComplete = func(ctx context.Context, c *cli.Command) {
		given := c.Args().Slice()
		if n := len(given); n > 0 && strings.HasPrefix(given[n-1], "-") {
			cli.DefaultCompleteWithFlags(ctx, c)
			return
		} else if n >= most {
			return
		}
		for _, f := range c.Flags { // cli does it later: what the environment says
			if f.PostParse() != nil {
				return
			}
		}
		ctx, cancel := context.WithTimeout(ctx, completionTime)
		defer cancel()
		rack, err := dialRack(c)
		if err != nil {
			rack = nil
		} else {
			defer rack.Close()
		}
		for _, name := range names(ctx, c, rack) {
			if !slices.Contains(given, name) {
				fmt.Fprintln(c.Root().Writer, name)
			}
		}
	}
	return c
}

// many is for commands that take any number of arguments.
const many = 1 << 30

// vnodesThat are those of the rack that a command may mean.
func vnodesThat(may func(*api.VNode) bool) namer {
	return func(ctx context.Context, _ *cli.Command, rack *grpc.ClientConn) (names []string) {
		if rack == nil {
			return nil
		}
		r, err := api.NewVNodesClient(rack).ListVNodes(ctx, &api.ListVNodesRequest{})
		if err != nil {
			return nil
		}
		for _, v := range r.Vnodes {
			if may(v) {
				names = append(names, v.Spec.Name)
			}
		}
		return names
	}
}

func anyVNode(*api.VNode) bool { return true }
func atRest(v *api.VNode) bool { return !running(v) }
func drains(m *api.Member) bool {
	return !absent(m) && (m.Role == api.Role_ROLE_MEMORY || m.Role == api.Role_ROLE_STORAGE)
}
func absent(m *api.Member) bool {
	return m.State == api.MemberState_MEMBER_STATE_AWAY || m.State == api.MemberState_MEMBER_STATE_REMOVED
}

// andHere are also those that run on this host without a rack.
func andHere(may func(*api.VNode) bool) namer {
	return func(ctx context.Context, c *cli.Command, rack *grpc.ClientConn) []string {
		names := vnodesThat(may)(ctx, c, rack)
		sockets, _ := filepath.Glob(controlPath("*")) // the pattern is well-formed
		for _, s := range sockets {
			if !abandoned(s) {
				names = append(names, strings.TrimSuffix(filepath.Base(s), ".sock"))
			}
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
}

// monitorsThat are members of the rack.
func monitorsThat(may func(*api.Member) bool) namer {
	return func(ctx context.Context, _ *cli.Command, rack *grpc.ClientConn) (names []string) {
		if rack == nil {
			return nil
		}
		r, err := api.NewMembersClient(rack).ListMembers(ctx, &api.ListMembersRequest{Away: true})
		if err != nil {
			return nil
		}
		for _, m := range r.Members {
			if may(m) {
				names = append(names, m.Name)
			}
		}
		return names
	}
}

// volumesOfRack are the rack's, for a command that is not about given storage
// monitors.
func volumesOfRack(ctx context.Context, c *cli.Command, rack *grpc.ClientConn) (names []string) {
	if rack == nil || c.IsSet("storage-monitor") {
		return nil
	}
	r, err := api.NewVolumesClient(rack).ListVolumes(ctx, &api.ListVolumesRequest{})
	if err != nil {
		return nil
	}
	for _, v := range r.Volumes {
		names = append(names, v.Name)
	}
	return names
}
