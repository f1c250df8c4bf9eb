package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
	"google.golang.org/grpc"

	"splitvm/cmd/splitvm/top"
	"splitvm/remote"
	"splitvm/remote/api"
	"splitvm/remote/tunnel"
)

func topCommand() *cli.Command {
	return &cli.Command{
		Name:  "top",
		Usage: "watch what the vNodes and monitors of a rack do",
		Description: `Shows each vNode's CPU time, its ExCache and what it misses, its remote memory,
and what goes to and from its disks and networks, all a second; and the rack's
monitors. Keys: s sorts by the next column, r the other way round, p pauses,
Enter shows all of one vNode, q ends.

Examples:
   splitvm top
   splitvm top --sort miss/s --interval 500ms`,
		Flags: []cli.Flag{globalFlag(),
			&cli.DurationFlag{Name: "interval", Aliases: []string{"n"}, Value: 2 * time.Second, Usage: "`TIME` between readings", Validator: func(d time.Duration) error {
				if d < 100*time.Millisecond {
					return fmt.Errorf("an interval of %v: at least 100ms", d)
				}
				return nil
			}},
			&cli.StringFlag{Name: "sort", Aliases: []string{"s"}, Value: "cpu%", Usage: "sort vNodes by `COLUMN`: " + strings.Join(top.Columns(), ", "), Validator: func(s string) error {
				if !slices.Contains(top.Columns(), s) {
					return fmt.Errorf("no column %q; there are %s", s, strings.Join(top.Columns(), ", "))
				}
				return nil
			}},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			if !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stdout.Fd())) {
				return &exitError{exitUsage, errors.New("top: needs a terminal; for a program, `splitvm stats VNODE -o json`, `splitvm ps -o json` and `splitvm monitor ls -o json` tell the same")}
			}
			return onRack(c, func(conn *grpc.ClientConn) error {
				r := &topReader{ctx: ctx, conn: conn}
				m := top.New(top.Config{Title: "splitvm top", Read: r.read, Every: c.Duration("interval"), Sort: c.String("sort")})
				// main sees to signals; Ctrl-C is a key here.
				_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithoutSignalHandler()).Run()
				if ctx.Err() != nil {
					return nil
				}
				return err
			})
		},
	}
}

// topReader reads a rack for top.
type topReader struct {
	ctx  context.Context
	conn *grpc.ClientConn
}

const (
	topTime  = 5 * time.Second // to read all, and
	topTimes = 2 * time.Second // one vNode
	topAsks  = 8               // vNodes at once
)

// read is top.Config's Read.
func (r *topReader) read() top.Reading {
	ctx, cancel := context.WithTimeout(r.ctx, topTime)
	defer cancel()
	now, err := r.rack(ctx)
	if err != nil {
		return top.Reading{Err: plain(err)}
	}
	r.ask(ctx, &now)
	now.At = time.Now()
	return now
}

// rack is what the global monitor knows.
func (r *topReader) rack(ctx context.Context) (now top.Reading, err error) {
	vnodes, err := api.NewVNodesClient(r.conn).ListVNodes(ctx, &api.ListVNodesRequest{})
	if err != nil {
		return now, err
	}
	vregions, err := api.NewVRegionsClient(r.conn).ListVRegions(ctx, &api.ListVRegionsRequest{})
	if err != nil {
		return now, err
	}
	members, err := api.NewMembersClient(r.conn).ListMembers(ctx, &api.ListMembersRequest{})
	if err != nil {
		return now, err
	}
	now.Monitors = members.Members
	index := map[uint64]int{}
	for i, v := range vnodes.Vnodes {
		now.VNodes = append(now.VNodes, top.VNode{VNode: v})
		index[v.Id] = i
	}
	for _, x := range vregions.Vregions {
		if i, ok := index[x.Vnode]; ok {
			v := &now.VNodes[i]
			v.VRegions, v.Held = append(v.VRegions, x), v.Held+x.HeldBytes
		}
	}
	return now, nil
}

// ask has the running vNodes tell their counters.
func (r *topReader) ask(ctx context.Context, now *top.Reading) {
	at := map[uint64]string{}
	for _, m := range now.Monitors {
		at[m.Id] = m.Control
	}
	var g errgroup.Group
	g.SetLimit(topAsks)
	for i := range now.VNodes {
		v := &now.VNodes[i]
		if v.State != api.VNodeState_VNODE_STATE_RUNNING {
			continue
		}
		g.Go(func() error {
			v.Counters, v.Err = countersOf(ctx, at[v.Processor], v.Id)
			return nil
		})
	}
	g.Wait()
}

// countersOf asks the VMM of a vNode, through its processor monitor.
func countersOf(ctx context.Context, processor string, vnode uint64) (*top.Counters, error) {
	client := http.Client{Timeout: topTimes, Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return tunnel.Dial(ctx, processor, vnode) },
		DisableKeepAlives: true,
	}}
	var s vnodeStats
	if err := callHTTP(ctx, &client, http.MethodGet, "/stats", nil, &s); err != nil {
		return nil, plain(err)
	}
	c := &top.Counters{CPU: time.Duration(s.CPU * 1e9)}
	if s.Disk != nil {
		c.Disk = &top.Traffic{In: s.Disk.In, Out: s.Disk.Out}
	}
	if s.Net != nil {
		c.Net = &top.Traffic{In: s.Net.In, Out: s.Net.Out}
	}
	if e := s.ExCache; e != nil {
		x := &top.ExCache{Used: uint64(max(0, e.Used)) * remote.LineSize, Limit: uint64(max(0, e.Capacity)) * remote.LineSize, Dirty: uint64(max(0, e.Dirty)) * remote.LineSize,
			Misses: e.Missed, Traffic: top.Traffic{In: e.Read, Out: e.Written}, P50: time.Duration(e.Miss.P50), P99: time.Duration(e.Miss.P99), Pagers: s.Pagers}
		for _, k := range faultKinds(e.Stats) {
			x.Faults += k.count
		}
		c.ExCache = x
	}
	return c, nil
}
