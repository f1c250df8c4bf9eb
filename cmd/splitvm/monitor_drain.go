package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"splitvm/remote/api"
)

const monitorDrainDescription = `Moves everything that a memory or storage monitor holds, vRegions or volumes, to the
rack's others of its kind, with the guests running, and gives it nothing new from now
on. Returns when the monitor holds nothing any more: then it may be stopped.

A volume moves with its writer running; one that a vNode only reads, or a snapshot, moves
when that vNode has ended.

It is the rack that drains. Ctrl-C ends this command and not the drain, which the
same command watches again; --cancel ends the drain: the monitor takes new things
again, what has moved stays where it is, and what is moving is called back if it is not
too late (volumes), or goes on to its end (vRegions, four at a time at most).

Examples:
   splitvm monitor drain memory-1
   splitvm monitor drain storage-1
   splitvm monitor drain --cancel memory-1
   splitvm monitor drain memory-1 -o json && ssh host1 systemctl stop splitvm-memory`

func monitorDrainCommand() *cli.Command {
	return &cli.Command{
		Name: "drain", Usage: "move everything away from a memory or storage monitor, so that it can leave", ArgsUsage: "NAME|ID",
		Description: monitorDrainDescription,
		Flags: []cli.Flag{globalFlag(), outputFlag(),
			&cli.BoolFlag{Name: "cancel", Usage: "take new things again; what has not moved yet stays"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "don't wait for the end"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Len() != 1 {
				return &exitError{exitUsage, errors.New("drain: give the name or the id of one memory or storage monitor; `splitvm monitor ls` lists them")}
			}
			return onRack(c, func(conn *grpc.ClientConn) error {
				members := api.NewMembersClient(conn)
				s, err := members.Drain(ctx, &api.DrainRequest{Member: c.Args().First(), Cancel: c.Bool("cancel")})
				if err == nil && !c.Bool("detach") && !c.Bool("cancel") {
					s, err = watchDrain(ctx, c, members, s)
				}
				if err != nil {
					return err
				}
				return printDrain(c, s)
			})
		},
	}
}

// watchDrain shows a drain's progress until its end.
func watchDrain(ctx context.Context, c *cli.Command, members api.MembersClient, s *api.DrainStatus) (*api.DrainStatus, error) {
	name := s.Member.Name
	show := newMoveProgress(c.Root().ErrWriter, name, s.BytesLeft)
	defer show.end()
	for s.Member.State == api.MemberState_MEMBER_STATE_DRAINING {
		show.status(drainText(s), s.BytesLeft, s.Moving)
		select {
		case <-ctx.Done():
			show.end()
			return nil, fmt.Errorf("the drain of %s goes on; `splitvm monitor drain %s` watches it, with --cancel it ends", name, name)
		case <-time.After(moveLook):
		}
		now, err := members.GetDrain(ctx, &api.DrainRef{Member: fmt.Sprint(s.Member.Id)})
		if ctx.Err() != nil {
			continue
		}
		if status.Code(err) == codes.NotFound {
			return nil, fmt.Errorf("%s has left the rack before it was drained: `splitvm events` tells why, `splitvm ps -a` which vNodes ended with it", name)
		}
		if err != nil {
			return nil, fmt.Errorf("while %s was being drained: %w", name, plain(err))
		}
		s = now
	}
	if s.Member.State != api.MemberState_MEMBER_STATE_DRAINED {
		return nil, fmt.Errorf("the drain of %s was cancelled", name)
	}
	return s, nil
}

// drainText is what a drain is at.
func drainText(s *api.DrainStatus) string {
	what := left(s) + " left"
	if s.VregionsLeft+s.VolumesLeft == 0 {
		what = "everything has moved; waiting for its word that it holds nothing"
	}
	if s.Waiting != "" {
		what += "; waiting: " + s.Waiting
	}
	return what
}

// left is what a monitor that is being drained has still.
func left(s *api.DrainStatus) string {
	if s.Member.Role == api.Role_ROLE_STORAGE {
		return fmt.Sprintf("%d volumes", s.VolumesLeft)
	}
	return fmt.Sprintf("%d vRegions", s.VregionsLeft)
}

func printDrain(c *cli.Command, s *api.DrainStatus) error {
	if c.String("output") != "table" {
		return print(c, message{s}, table{})
	}
	w, name := c.Root().Writer, s.Member.Name
	switch s.Member.State {
	case api.MemberState_MEMBER_STATE_DRAINED:
		fmt.Fprintf(w, "%s is drained: it holds nothing any more and may be stopped.\n", name)
	case api.MemberState_MEMBER_STATE_DRAINING:
		fmt.Fprintf(w, "%s is being drained: %s, %s, are left.\n", name, left(s), units.BytesSize(float64(s.BytesLeft)))
	default:
		fmt.Fprintf(w, "%s takes new things again.\n", name)
	}
	return nil
}
