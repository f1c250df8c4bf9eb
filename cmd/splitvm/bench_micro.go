package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"splitvm/integration/bench/micro"
)

const benchMicroDescription = `Runs small guests that touch their memory in different orders, each with its
memory in a different place, and prints what an access costs: the mean, and
quantiles of single accesses, in microseconds, and how many of them had to wait
for memory. Backends:

   local    all of it in memory
   floor    behind a userfaultfd, served with zero pages by another process:
            what no pager can be faster than
   model    likewise, by the smallest pager that loses nothing: it evicts in line,
            to its own memory, and knows no network
   remote   at a memory monitor behind splitvm's pager, over loopback TCP;
            remote+off, remote+s3fifo+majority, remote+checksums+shm+2 choose a
            prefetcher, an eviction policy, checksums, unix or shm instead of TCP,
            a number of monitors
   swap     the kernel's, to zram, under a memory cgroup (needs root; the host is
            left as it was)

CACHE is the part of the working set that fits in memory, in percent. Backends
take turns within each round; ratios are to the same round's.

Examples:
   splitvm bench micro --backend local,floor --pattern random --cache 50 --rounds 5
   splitvm bench micro --backend floor,remote+off,remote+majority --pattern sequential
   splitvm bench micro --working-set 256M --vcpus 1,2,4 --plot micro.svg
   splitvm bench micro -o json > micro.json`

func benchMicroCommand() *cli.Command {
	return &cli.Command{
		Name:        "micro",
		Usage:       "what a guest's memory accesses cost by where its memory is",
		Description: benchMicroDescription,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "backend", Value: "local,floor,remote,swap", Usage: "`LIST` of backends"},
			&cli.StringFlag{Name: "pattern", Value: "random,zipf,sequential,stride,chase,stream,first", Usage: "`LIST` of orders of accesses"},
			&cli.StringFlag{Name: "writes", Value: "50", Usage: "`LIST` of shares of writes, in percent"},
			&cli.StringFlag{Name: "vcpus", Value: "1", Usage: "`LIST` of numbers of vCPUs"},
			&cli.StringFlag{Name: "cache", Value: "100,75,50,25,10", Usage: "`LIST` of cache sizes, in percent of the working set"},
			&cli.StringFlag{Name: "working-set", Value: "64M", Usage: "`SIZE` of what the guest touches", Validator: sizeFlag},
			&cli.IntFlag{Name: "accesses", Value: 16384, Usage: "measured accesses of each vCPU; streams make whole passes"},
			&cli.IntFlag{Name: "rounds", Value: 3, Usage: "how often each is measured"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the random accesses"},
			&cli.DurationFlag{Name: "timeout", Value: 5 * time.Minute, Usage: "what one guest has"},
			&cli.StringFlag{Name: "plot", Usage: "draw the result into `FILE` as SVG"},
			outputFlag(),
		},
		Action: benchMicro,
	}
}

func benchMicro(ctx context.Context, c *cli.Command) error {
	o, err := microOptions(c)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("bench micro: %w (see `splitvm bench micro --help`)", err)}
	}
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		o.Progress = func(done, all int, cell micro.Cell) {
			fmt.Fprintf(os.Stderr, "\r\x1b[K%d of %d: %v", done, all, cell)
		}
		defer fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	r, err := micro.Run(ctx, o)
	if err != nil {
		return err
	}
	if name := c.String("plot"); name != "" {
		if err := plotTo(name, r); err != nil {
			return err
		}
	}
	if c.String("output") == "table" {
		for _, n := range r.Notes {
			fmt.Fprintln(c.Root().Writer, "#", n)
		}
	}
	return print(c, r, table{head: r.Head(), rows: r.Cells()})
}

func plotTo(name string, r *micro.Report) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	if err := errors.Join(r.WritePlot(f), f.Close()); err != nil {
		return fmt.Errorf("plot into %s: %w", name, err)
	}
	return nil
}

func microOptions(c *cli.Command) (micro.Options, error) {
	o := micro.Options{
		Backends: list(c.String("backend")), Rounds: c.Int("rounds"), Seed: c.Uint64("seed"), Timeout: c.Duration("timeout"),
		Accesses: uint64(max(c.Int("accesses"), 0)), Parts: benchParts,
	}
	var err error
	if o.WorkingSet, err = parseSize(c.String("working-set")); err != nil {
		return o, err
	}
	for _, p := range list(c.String("pattern")) {
		o.Patterns = append(o.Patterns, micro.Pattern(p))
	}
	var writes []int
	for _, n := range []struct {
		flag     string
		into     *[]int
		low, top int
	}{{"writes", &writes, 0, 100}, {"vcpus", &o.VCPUs, 1, 64}, {"cache", &o.Caches, 1, 100}} {
		if *n.into, err = numbers(c.String(n.flag), n.low, n.top); err != nil {
			return o, fmt.Errorf("--%s: %w", n.flag, err)
		}
	}
	for _, w := range writes {
		o.Writes = append(o.Writes, float64(w)/100)
	}
	return o, o.Check()
}

// list splits a comma-separated value.
func list(s string) []string {
	return slices.DeleteFunc(strings.Split(s, ","), func(s string) bool { return strings.TrimSpace(s) == "" })
}

func numbers(s string, low, top int) ([]int, error) {
	var all []int
	for _, f := range list(s) {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(f), "%"))
		if err != nil || n < low || n > top {
			return nil, fmt.Errorf("%q: give numbers from %d to %d, with commas between", f, low, top)
		}
		all = append(all, n)
	}
	return all, nil
}

// benchParts runs the parts of a benchmark as processes of this executable.
func benchParts(ctx context.Context, role string) *exec.Cmd {
	if role == micro.RolePager {
		return exec.CommandContext(ctx, "/proc/self/exe", "pager")
	}
	return exec.CommandContext(ctx, "/proc/self/exe", "bench", "part", role)
}

// benchPartCommand is one process of a benchmark.
func benchPartCommand() *cli.Command {
	return &cli.Command{
		Name:      "part",
		Usage:     "be one process of a benchmark",
		ArgsUsage: "ROLE",
		Hidden:    true,
		Action: func(ctx context.Context, c *cli.Command) error {
			return micro.Part(ctx, c.Args().First(), benchParts)
		},
	}
}
