package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
)

func psCommand() *cli.Command {
	return &cli.Command{
		Name: "ps", Usage: "list the vNodes of a rack",
		Description: `Examples:
   splitvm ps
   splitvm ps -a -o yaml`,
		Flags: []cli.Flag{globalFlag(), outputFlag(), &cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also those that do not run"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			return onRack(c, func(conn *grpc.ClientConn) error {
				r, err := api.NewVNodesClient(conn).ListVNodes(ctx, &api.ListVNodesRequest{})
				if err != nil {
					return err
				}
				var list []*api.VNode
				for _, v := range r.Vnodes {
					if running(v) || c.Bool("all") {
						list = append(list, v)
					}
				}
				return print(c, messages(list), vnodeTable(list))
			})
		},
	}
}

func vnodeTable(list []*api.VNode) table {
	t := table{head: []string{"VID", "NAME", "STATE", "SINCE", "VCPUS", "MEMORY", "VIP", "PROCESSOR", "PID"}}
	for _, v := range list {
		since := v.CreatedUnixMs
		for _, at := range []int64{v.StartedUnixMs, v.EndedUnixMs} {
			since = max(since, at)
		}
		pid := "-"
		if v.Pid != 0 {
			pid = strconv.Itoa(int(v.Pid))
		}
		t.rows = append(t.rows, []string{strconv.FormatUint(v.Id, 10), v.Spec.Name, stateText(v), units.HumanDuration(time.Since(time.UnixMilli(since))),
			strconv.Itoa(int(v.Spec.Vcpus)), units.BytesSize(float64(v.Spec.MemoryBytes)), v.Vip, strconv.FormatUint(v.Processor, 10), pid})
	}
	return t
}

func stateText(v *api.VNode) string {
	s := strings.ToLower(strings.TrimPrefix(v.State.String(), "VNODE_STATE_"))
	if v.State == api.VNodeState_VNODE_STATE_EXITED {
		s = fmt.Sprintf("%s (%d)", s, v.ExitStatus)
	}
	return s
}
