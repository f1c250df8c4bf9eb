package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote/api"
)

const monitorRmDescription = `Says that a storage monitor which is away is lost for good. The rack makes every replica
that it had again on another one, in another failure domain where there is room, with
the guests running, from a replica that is left. Returns when that is done.

A volume that had its only replica there is lost: that is told, and it stays listed until
` + "`splitvm volume rm --force`" + `.

A monitor that was removed is not taken back: started again with the same --data
directory it is told so and ends. --cancel takes the removal back before that: it may
be started again, and what has not been repaired by then counts.

Where nobody writes a volume, the replicas that are left are enough if the last writer
ended in order. Else the lost one may have had writes that are nowhere else: the
repair waits until it comes back, or --accept-loss gives those up.

A monitor that is up is drained instead: ` + "`splitvm monitor drain`" + `. Ctrl-C ends this
command and not the repair, which the same command watches again.

Examples:
   splitvm monitor rm storage-1
   splitvm monitor rm --detach storage-1 && splitvm volume ls
   splitvm monitor rm --cancel storage-1`

func monitorRmCommand() *cli.Command {
	return &cli.Command{
		Name: "rm", Usage: "have what a lost storage monitor had made again on others", ArgsUsage: "NAME|ID",
		Description: monitorRmDescription,
		Flags: []cli.Flag{globalFlag(), outputFlag(),
			&cli.BoolFlag{Name: "cancel", Usage: "it may come back after all"},
			&cli.BoolFlag{Name: "accept-loss", Usage: "go on with replicas that may lack the last writes"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "don't wait for the end"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Len() != 1 {
				return &exitError{exitUsage, errors.New("rm: give the name or the id of one storage monitor that is away; `splitvm monitor ls` lists them")}
			}
			return onRack(c, func(conn *grpc.ClientConn) error {
				members := api.NewMembersClient(conn)
				s, err := members.RemoveMember(ctx, &api.RemoveMemberRequest{
					Member: c.Args().First(), Cancel: c.Bool("cancel"), AcceptLoss: c.Bool("accept-loss")})
				if err == nil && !c.Bool("detach") && !c.Bool("cancel") {
					s, err = watchRepair(ctx, c, members, s)
				}
				if err != nil {
					return err
				}
				return printRepair(c, s)
			})
		},
	}
}

// watchRepair shows a repair's progress until its end.
func watchRepair(ctx context.Context, c *cli.Command, members api.MembersClient, s *api.DrainStatus) (*api.DrainStatus, error) {
	name := s.Member.Name
	show := newMoveProgress(c.Root().ErrWriter, name, s.BytesLeft)
	defer show.end()
	for s.VolumesLeft > 0 {
		text := fmt.Sprintf("%d volumes to repair", s.VolumesLeft)
		if s.Waiting != "" {
			text += "; waiting: " + s.Waiting
		}
		show.status(text, s.BytesLeft, nil)
		select {
		case <-ctx.Done():
			show.end()
			return nil, fmt.Errorf("the repair of what %s had goes on; `splitvm monitor rm %d` watches it", name, s.Member.Id)
		case <-time.After(moveLook):
		}
		now, err := members.GetDrain(ctx, &api.DrainRef{Member: fmt.Sprint(s.Member.Id)})
		if ctx.Err() != nil {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("while what %s had was being repaired: %w", name, plain(err))
		}
		s = now
	}
	return s, nil
}

func printRepair(c *cli.Command, s *api.DrainStatus) error {
	if c.String("output") != "table" {
		return print(c, message{s}, table{})
	}
	w, name := c.Root().Writer, s.Member.Name
	switch {
	case s.Member.State != api.MemberState_MEMBER_STATE_REMOVED:
		fmt.Fprintf(w, "%s may come back.\n", name)
		return nil
	case s.VolumesLeft > 0:
		fmt.Fprintf(w, "%s is removed: %d volumes, %s, are to be repaired.\n", name, s.VolumesLeft, units.BytesSize(float64(s.BytesLeft)))
		if s.Waiting != "" {
			fmt.Fprintf(w, "Waiting: %s.\n", s.Waiting)
		}
	default:
		fmt.Fprintf(w, "%s is removed: nothing that it had is left to repair.\n", name)
	}
	if len(s.Lost) > 0 {
		fmt.Fprintf(w, "LOST, for they had no replica elsewhere: %s.\n`splitvm volume rm --force` gives one up; `splitvm monitor rm --cancel %d` takes the monitor back, if it can be started again.\n", strings.Join(s.Lost, ", "), s.Member.Id)
	}
	return nil
}
