package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
)

func monitorLsCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Usage: "list the monitors of a rack, and storage monitors that are away with replicas of volumes",
		Description: `Examples:
   splitvm monitor ls
   splitvm monitor ls -o json`,
		Flags: []cli.Flag{globalFlag(), outputFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			return onRack(c, func(conn *grpc.ClientConn) error {
				r, err := api.NewMembersClient(conn).ListMembers(ctx, &api.ListMembersRequest{Away: true})
				if err != nil {
					return err
				}
				return print(c, messages(r.Members), memberTable(r.Members))
			})
		},
	}
}

// A memberNamer gives members' names by their IDs, with commas between them; an ID
// stands for a member that is gone, and nothing for 0, which is none.
type memberNamer func(ids ...uint64) string

func memberNames(ctx context.Context, conn *grpc.ClientConn) (memberNamer, error) {
	r, err := api.NewMembersClient(conn).ListMembers(ctx, &api.ListMembersRequest{})
	if err != nil {
		return nil, err
	}
	names := make(map[uint64]string)
	for _, m := range r.Members {
		names[m.Id] = m.Name
	}
	return func(ids ...uint64) string {
		var list []string
		for _, id := range ids {
			if id != 0 {
				list = append(list, cmp.Or(names[id], strconv.FormatUint(id, 10)))
			}
		}
		return strings.Join(list, ",")
	}, nil
}

func memberTable(list []*api.Member) table {
	t := table{head: []string{"ID", "ROLE", "NAME", "DOMAIN", "STATE", "USED", "CAPACITY", "ADDRESS"}}
	for _, m := range list {
		at := strings.Join(m.Data, ",")
		if at == "" {
			at = m.Control
		}
		t.rows = append(t.rows, []string{strconv.FormatUint(m.Id, 10), strings.ToLower(strings.TrimPrefix(m.Role.String(), "ROLE_")), m.Name, m.Domain,
			strings.ToLower(strings.TrimPrefix(m.State.String(), "MEMBER_STATE_")), resources(m.Role, m.Used), resources(m.Role, m.Capacity), at})
	}
	return t
}

func resources(role api.Role, r *api.Resources) string {
	switch size := func(n uint64) string { return units.BytesSize(float64(n)) }; role {
	case api.Role_ROLE_PROCESSOR:
		return fmt.Sprintf("%d vCPUs, %s", r.GetVcpus(), size(r.GetExcacheBytes()))
	case api.Role_ROLE_MEMORY:
		return size(r.GetMemoryBytes())
	default:
		return size(r.GetDiskBytes())
	}
}
