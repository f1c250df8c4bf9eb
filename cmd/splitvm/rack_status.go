package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"

	"splitvm/remote/api"
	"splitvm/remote/rack"
)

// rackReport is what `rack status` tells.
type rackReport struct {
	Global    string          `json:"global"`
	Processes []processReport `json:"processes"`
	VNodes    int             `json:"vnodes"`
	VRegions  int             `json:"vregions"`
	Trouble   string          `json:"trouble,omitempty"`
}

type processReport struct {
	rackProcess
	Running bool   `json:"running"`
	Member  uint64 `json:"member,omitempty"`
	Used    string `json:"used,omitempty"`
}

func rackStatusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show the rack on this host",
		Description: `Its processes with their logs, and what each has in use as a monitor.

Examples:
   splitvm rack status
   splitvm rack status -o json`,
		Flags: []cli.Flag{rackDirFlag(), outputFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			dir, err := filepath.Abs(c.String("dir"))
			if err != nil {
				return err
			}
			r, err := readRack(dir)
			if err != nil {
				return fmt.Errorf("rack status: %w", err)
			}
			report := r.report(ctx)
			t := table{head: []string{"NAME", "PID", "STATE", "MEMBER", "USED", "LOG"}}
			for _, p := range report.Processes {
				state, member := "running", "-"
				if !p.Running {
					state = "ended"
				}
				if p.Member != 0 {
					member = strconv.FormatUint(p.Member, 10)
				}
				t.rows = append(t.rows, []string{p.Name, strconv.Itoa(p.PID), state, member, p.Used, p.Log})
			}
			t.rows = append(t.rows, []string{fmt.Sprintf("%d vNodes", report.VNodes), "", report.Trouble, "", fmt.Sprintf("%d vRegions", report.VRegions), ""})
			return print(c, report, t)
		},
	}
}

// report asks the rack how it is; one that does not answer is reported as well.
func (r *rackRecord) report(ctx context.Context) *rackReport {
	report := &rackReport{Global: r.Global}
	members := map[string]*api.Member{}
	if err := r.ask(ctx, report, members); err != nil {
		report.Trouble = plain(err).Error()
	}
	for _, p := range r.Processes {
		x := processReport{rackProcess: p, Running: !gone(p.PID) && ofRack(p.PID, r.dir)}
		if m := members[p.Name]; m != nil {
			x.Member, x.Used = m.Id, resources(m.Role, m.Used)
		}
		report.Processes = append(report.Processes, x)
	}
	return report
}

func (r *rackRecord) ask(ctx context.Context, report *rackReport, members map[string]*api.Member) error {
	conn, err := rack.Dial([]string{r.Global})
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	list, err := api.NewMembersClient(conn).ListMembers(ctx, &api.ListMembersRequest{})
	if err != nil {
		return err
	}
	for _, m := range list.Members {
		members[m.Name] = m
	}
	vnodes, err := api.NewVNodesClient(conn).ListVNodes(ctx, &api.ListVNodesRequest{})
	if err != nil {
		return err
	}
	for _, v := range vnodes.Vnodes {
		if running(v) {
			report.VNodes++
		}
	}
	regions, err := api.NewVRegionsClient(conn).ListVRegions(ctx, &api.ListVRegionsRequest{})
	report.VRegions = len(regions.GetVregions())
	return err
}
