package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"splitvm/integration/bench"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure splitvm on this host, beside its floors and rivals",
		Description: `Examples:
   splitvm bench start
   splitvm bench micro --pattern random --cache 50`,
		Commands: []*cli.Command{
			benchStartCommand(),
			benchMicroCommand(),
			benchPartCommand(),
		},
	}
}

const benchStartDescription = `Starts a guest again and again and tells how long its first instruction takes
from the exec of splitvm on, what the VMM weighs beside the guest's memory, and
how long it takes to be gone after SIGTERM. The guest is a few instructions in
the place of a kernel, so this works on any KVM.

Examples:
   splitvm bench start
   splitvm bench start --mem 64G --cpus 8 --runs 200 -o json`

func benchStartCommand() *cli.Command {
	return &cli.Command{
		Name:        "start",
		Usage:       "time from exec to the first guest instruction, and memory overhead",
		Description: benchStartDescription,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "mem", Value: "4G", Usage: "guest memory, as `SIZE`", Validator: sizeFlag},
			&cli.IntFlag{Name: "cpus", Value: 1, Usage: "virtual CPUs"},
			&cli.IntFlag{Name: "runs", Value: 50, Usage: "starts to measure"},
			outputFlag(),
		},
		Action: benchStart,
	}
}

func benchStart(ctx context.Context, c *cli.Command) error {
	memory, err := parseSize(c.String("mem"))
	if err != nil {
		return err
	}
	if c.Int("runs") < 1 {
		return &exitError{exitUsage, fmt.Errorf("bench start: %d runs: give at least 1", c.Int("runs"))}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, err := bench.Start(ctx, bench.StartConfig{Binary: self, Memory: memory, CPUs: c.Int("cpus"), Runs: c.Int("runs"), Patience: time.Minute})
	if err != nil {
		return err
	}
	t := table{head: []string{"", "p50", "p90", "p99", "MAX"}}
	for _, row := range []struct {
		name string
		s    bench.Summary
	}{
		{"exec to first guest instruction, ms", r.FirstInstruction},
		{"floor: splitvm --version, ms", r.Process},
		{"SIGTERM to gone, ms", r.Stop},
		{"resident memory less guest RAM, MiB", r.Overhead},
		{"of it private, MiB", r.Private},
	} {
		t.rows = append(t.rows, append([]string{row.name}, row.s.Cells()...))
	}
	return print(c, r, t)
}
