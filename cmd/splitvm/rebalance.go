package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"splitvm/remote"
	"splitvm/remote/api"
)

const rebalanceDescription = `Moves vRegions from memory monitors that have promised much of their memory to
those that have promised little, and volumes likewise between storage monitors, with
the guests running: to within a tenth of the mean, with few moves. A monitor that has
joined gets its part this way; what is new goes to it by itself. Monitors that are
being drained take no part. Volumes that share blocks, as a clone does, stay, and so
do those that are only read.

It is the rack that moves. Ctrl-C ends this command and not the moves, which the same
command watches again; --cancel ends those that have not begun.

Examples:
   splitvm rebalance --dry-run
   splitvm rebalance
   splitvm rebalance --only storage
   splitvm rebalance -o json | jq '.steps | length'`

func rebalanceCommand() *cli.Command {
	return &cli.Command{
		Name: "rebalance", Usage: "even out what the rack's memory and storage monitors hold", Description: rebalanceDescription,
		Flags: []cli.Flag{globalFlag(), outputFlag(),
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "show what would move"},
			&cli.StringFlag{Name: "only", Usage: "even out one `KIND`: memory or storage", Validator: func(s string) error {
				if onlyRoles[s] == 0 && s != "" {
					return fmt.Errorf("no kind %q; there are memory and storage", s)
				}
				return nil
			}},
			&cli.BoolFlag{Name: "cancel", Usage: "what has not begun to move stays; what is moving now goes on to its end"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "don't wait for the end"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			return onRack(c, func(conn *grpc.ClientConn) error { return rebalance(ctx, c, conn) })
		},
	}
}

var onlyRoles = map[string]api.Role{"memory": api.Role_ROLE_MEMORY, "storage": api.Role_ROLE_STORAGE}

func rebalance(ctx context.Context, c *cli.Command, conn *grpc.ClientConn) error {
	members := api.NewMembersClient(conn)
	plan, err := members.Rebalance(ctx, &api.RebalanceRequest{DryRun: c.Bool("dry-run"), Cancel: c.Bool("cancel"), Role: onlyRoles[c.String("only")]})
	switch {
	case err != nil:
		return err
	case c.Bool("cancel"):
		return printCancelled(c, plan)
	case c.Bool("dry-run"), c.Bool("detach"), len(plan.Steps) == 0:
		return printPlan(c, plan)
	}
	if err := watchRebalance(ctx, c, members, plan); err != nil {
		return err
	}
	if err := checkMoved(ctx, conn, plan); err != nil {
		return err
	}
	return printPlan(c, plan)
}

// watchRebalance shows how a plan goes on until nothing of it is left to move.
func watchRebalance(ctx context.Context, c *cli.Command, members api.MembersClient, plan *api.RebalancePlan) error {
	steps, volumes, bytes := map[uint64]*api.RebalanceStep{}, map[string]*api.RebalanceStep{}, uint64(0)
	for _, s := range plan.Steps {
		if s.Volume != "" {
			volumes[s.Volume] = s
		} else {
			steps[s.Vregion] = s
		}
		bytes += s.Bytes
	}
	show := newMoveProgress(c.Root().ErrWriter, "rebalance", bytes)
	defer show.end()
	for {
		r, err := members.ListMoves(ctx, &api.ListMovesRequest{})
		if err == nil {
			left, bytes := stepsLeft(steps, r.Moves)
			disks := 0
			for _, m := range r.Volumes {
				if s := volumes[m.Volume]; s != nil && s.To == m.To {
					disks++
					bytes += s.Bytes
				}
			}
			if len(left)+disks == 0 {
				return nil
			}
			show.status(leftText(len(left), len(steps), disks, len(volumes)), bytes, left)
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("while things were moving: %w", plain(err))
		}
		select {
		case <-ctx.Done():
			show.end()
			return errors.New("the moves go on; `splitvm rebalance` watches them, with --cancel those that have not begun stay")
		case <-time.After(moveLook):
		}
	}
}

func leftText(vregions, ofVRegions, volumes, ofVolumes int) string {
	var parts []string
	if ofVRegions > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d vRegions left", vregions, ofVRegions))
	}
	if ofVolumes > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d volumes left", volumes, ofVolumes))
	}
	return strings.Join(parts, ", ")
}

// stepsLeft picks those of a plan from moves, and tells how much they have to copy.
func stepsLeft(steps map[uint64]*api.RebalanceStep, moves []*api.VRegionMove) (left []*api.VRegionMove, bytes uint64) {
	for _, m := range moves {
		if s := steps[m.Vregion]; s != nil && s.To == m.To {
			left = append(left, m)
			bytes += s.Bytes - min(s.Bytes, m.CopiedBytes)
		}
	}
	return left, bytes
}

// checkMoved fails if parts of a plan are not where they were to go. A vRegion whose
// vNode has ended is nowhere, and a volume that was removed.
func checkMoved(ctx context.Context, conn *grpc.ClientConn, plan *api.RebalancePlan) error {
	r, err := api.NewVRegionsClient(conn).ListVRegions(ctx, &api.ListVRegionsRequest{})
	if err != nil {
		return err
	}
	disks, err := api.NewVolumesClient(conn).ListVolumes(ctx, &api.ListVolumesRequest{})
	if err != nil {
		return err
	}
	owners, replicas := map[uint64][]uint64{}, map[string][]uint64{}
	for _, x := range r.Vregions {
		owners[x.Id] = x.Owners
	}
	for _, v := range disks.Volumes {
		replicas[v.Name] = v.Replicas
	}
	stayed := 0
	for _, s := range plan.Steps {
		now, ok := owners[s.Vregion]
		if s.Volume != "" {
			now, ok = replicas[s.Volume]
		}
		if ok && !slices.Contains(now, s.To) {
			stayed++
		}
	}
	if stayed > 0 {
		return fmt.Errorf("%d of %d did not move: `splitvm events` tells why; `splitvm rebalance` tries again", stayed, len(plan.Steps))
	}
	return nil
}

func printCancelled(c *cli.Command, plan *api.RebalancePlan) error {
	if c.String("output") != "table" {
		return print(c, message{plan}, table{})
	}
	_, err := fmt.Fprintf(c.Root().Writer, "%d vRegions and volumes stay where they are; %d are on their way and go on.\n", plan.Cancelled, len(plan.Steps))
	return err
}

// printPlan prints the steps and what they make of the members.
func printPlan(c *cli.Command, plan *api.RebalancePlan) error {
	if c.String("output") != "table" {
		return print(c, message{plan}, table{})
	}
	w := c.Root().Writer
	steps := table{head: []string{"WHAT", "VNODE", "SIZE", "FROM", "TO", "WHY"}}
	for _, s := range plan.Steps {
		what, vnode := remote.VRegionID(s.Vregion).String(), strconv.FormatUint(s.Vnode, 10)
		if s.Volume != "" {
			what, vnode = "volume "+s.Volume, "-"
		}
		steps.rows = append(steps.rows, []string{what, vnode, units.BytesSize(float64(s.Bytes)),
			strconv.FormatUint(s.From, 10), strconv.FormatUint(s.To, 10), s.Why})
	}
	members := table{head: []string{"MEMBER", "NAME", "OFFERS", "PROMISED", "AFTERWARDS"}}
	for _, m := range plan.Members {
		part := func(n uint64) string {
			return fmt.Sprintf("%s, %.0f %%", units.BytesSize(float64(n)), 100*float64(n)/float64(m.LimitBytes))
		}
		members.rows = append(members.rows, []string{strconv.FormatUint(m.Member, 10), m.Name, units.BytesSize(float64(m.LimitBytes)), part(m.PromisedBytes), part(m.PlannedBytes)})
	}
	if len(plan.Steps) == 0 {
		fmt.Fprintln(w, "Nothing is to move: the monitors are even enough, or no single move would make them more so.")
		return members.write(w)
	}
	if err := steps.write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return members.write(w)
}
