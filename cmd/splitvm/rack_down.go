package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"splitvm/remote/api"
	"splitvm/remote/rack"
)

// endTime is what a monitor has to end by itself.
const endTime = 10 * time.Second

func rackDownCommand() *cli.Command {
	return &cli.Command{
		Name: "down", Usage: "end the rack on this host, its vNodes first, and remove its state",
		Description: `Works also on a rack of which parts have died, and on one that came up in part.

Example:
   splitvm rack down`,
		Flags: []cli.Flag{rackDirFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			dir, err := filepath.Abs(c.String("dir"))
			if err != nil {
				return err
			}
			r, err := readRack(dir)
			if err != nil {
				return fmt.Errorf("rack down: %w", err)
			}
			if err := stopVNodes(ctx, r); err != nil {
				fmt.Fprintln(os.Stderr, "splitvm: rack down: the vNodes are ended by force:", plain(err))
			}
			if err := tearDown(dir, r); err != nil {
				return fmt.Errorf("rack down: %w", err)
			}
			return nil
		},
	}
}

// stopVNodes asks all vNodes to end, and waits.
func stopVNodes(ctx context.Context, r *rackRecord) error {
	conn, err := rack.Dial([]string{r.Global})
	if err != nil {
		return err
	}
	defer conn.Close()
	vnodes := api.NewVNodesClient(conn)
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	short, done := context.WithTimeout(ctx, 3*time.Second)
	defer done()
	list, err := vnodes.ListVNodes(short, &api.ListVNodesRequest{})
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, v := range list.Vnodes {
		if running(v) {
			g.Go(func() error {
				if _, err := vnodes.StopVNode(ctx, &api.StopVNodeRequest{Vnode: v.Spec.Name}); err != nil {
					return err
				}
				_, err := waitVNode(ctx, conn, v.Spec.Name, hasEnded)
				return err
			})
		}
	}
	return g.Wait()
}

// tearDown ends the processes of a rack, the global monitors last, then whatever
// else belongs to it, and removes its folder.
func tearDown(dir string, r *rackRecord) error {
	var errs []error
	for _, role := range []string{"processor", "storage", "memory", "global"} {
		var g errgroup.Group
		for _, p := range r.Processes {
			if p.Role == role && p.PID != 0 {
				g.Go(func() error { return endProcess(p.PID, dir, endTime) })
			}
		}
		errs = append(errs, g.Wait())
	}
	pids, err := rackPIDs(dir)
	errs = append(errs, err)
	for _, pid := range pids {
		errs = append(errs, endProcess(pid, dir, 0))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
