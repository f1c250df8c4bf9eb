package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "tell all that the rack knows of a vNode: where it runs, where its memory and volumes are, and why there", ArgsUsage: "VNODE",
		Description: `Examples:
   splitvm inspect web1
   splitvm inspect web1 -o json | jq '.vregions[].why'`,
		Flags: []cli.Flag{globalFlag(), outputFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Len() != 1 {
				return &exitError{exitUsage, fmt.Errorf("inspect: give the name of one vNode (see `splitvm inspect --help`)")}
			}
			return onRack(c, func(conn *grpc.ClientConn) error {
				r, err := api.NewVNodesClient(conn).InspectVNode(ctx, &api.VNodeRef{Vnode: c.Args().First()})
				if err != nil {
					return err
				}
				names, err := memberNames(ctx, conn)
				if err != nil {
					return err
				}
				slices.SortFunc(r.Vregions, func(a, b *api.VRegion) int { return cmp.Compare(a.Index, b.Index) })
				return print(c, message{r}, inspectTable(r, names))
			})
		},
	}
}

func inspectTable(r *api.InspectVNodeResponse, names memberNamer) table {
	v := r.Vnode
	t := table{head: []string{"WHAT", "VALUE", "WHY"}}
	add := func(what, value, why string) { t.rows = append(t.rows, []string{what, value, why}) }
	add("vnode", fmt.Sprintf("%d, %s", v.Id, v.Spec.Name), "")
	add("state", stateText(v), v.Reason)
	add("address", v.Vip, "network "+v.Spec.Network)
	for _, p := range v.Spec.Publish {
		add("published", p, "at the processor's host")
	}
	if v.Processor != 0 {
		add("processor", names(v.Processor), v.ProcessorWhy)
	}
	for _, x := range r.Vregions {
		add(fmt.Sprintf("vRegion %d", x.Index), fmt.Sprintf("%d MiB at %s", x.Bytes>>20, names(x.Owners...)), x.Why)
	}
	for i, x := range r.Volumes {
		m := v.Spec.Volumes[i]
		where := "a disk"
		if m.Mount != "" {
			where = "on " + m.Mount
		}
		add("volume "+x.Name, fmt.Sprintf("%d MiB at %s, %s, %s", x.Bytes>>20, replicaNames(x), where, rackVolumeState(x)), x.Why)
	}
	for _, e := range r.Events {
		add(time.UnixMilli(e.UnixMs).Format(time.TimeOnly), e.Kind, e.Text)
	}
	return t
}
