package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"splitvm/monitors/global"
	"splitvm/monitors/global/place"
	"splitvm/remote/threads"
)

const description = `Keeps the rack together, until SIGINT or SIGTERM: which monitors are there,
which processor monitor runs a vNode (GPM), which memory monitors own a vRegion
(GMM) and which storage monitors hold a volume (GSM). State is in etcd, in this
process unless --etcd-endpoints names a cluster. Of several global monitors one
leads, and another takes over when it is lost.

Every peer that can connect may control the rack: listen on a network that only
the rack's hosts are in.

Examples:
   # one for the rack
   splitvm monitor global --listen 10.0.0.1:7400 --data /var/lib/splitvm/global

   # one of three, on three hosts
   splitvm monitor global --listen 10.0.0.1:7400 --data /var/lib/splitvm/global --name a \
       --peers a=http://10.0.0.1:7401,b=http://10.0.0.2:7401,c=http://10.0.0.3:7401

   # one of any number, with the state in an etcd cluster that is there already (keys below /splitvm/)
   splitvm monitor global --listen 10.0.0.1:7400 --name a --etcd-endpoints http://10.0.0.21:2379,http://10.0.0.22:2379`

// niceValue of a global monitor: etcd's leases and elections need little of the CPUs,
// but that in time (etcd's guide, "Tuning", has it for etcd).
const niceValue = -15

func command() *cli.Command {
	var names []string
	for _, p := range place.Policies() {
		names = append(names, p.Name)
	}
	return &cli.Command{
		Name:            "splitvm monitor global",
		Usage:           "keep the rack together: membership, placement, vNodes",
		Description:     description,
		HideHelpCommand: true,
		HideVersion:     true,
		ExitErrHandler:  func(context.Context, *cli.Command, error) {}, // finish prints it
		OnUsageError: func(_ context.Context, _ *cli.Command, err error, _ bool) error {
			return &usageError{fmt.Errorf("%w (see `splitvm monitor global --help`)", err)}
		},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Aliases: []string{"l"}, Required: true, Usage: "serve gRPC at `HOST:PORT`"},
			&cli.StringFlag{Name: "data", Usage: "`DIR` of the embedded etcd's state; made if it is not there"},
			&cli.StringFlag{Name: "name", Value: "global", Usage: "`NAME` of this one among several"},
			&cli.StringFlag{Name: "peers", Usage: "all global monitors with embedded etcd, this one too: `NAME=http://HOST:PORT,...`"},
			&cli.StringSliceFlag{Name: "etcd-endpoints", Usage: "use the etcd cluster at `URL` instead of the embedded one; commas separate several"},
			&cli.DurationFlag{Name: "lease", Value: global.DefaultLease, Usage: "a monitor whose heartbeats stop for `DURATION` is lost"},
			&cli.DurationFlag{Name: "repair-after", Value: global.DefaultRepairAfter, Usage: "make the replicas of a storage monitor that is away for `DURATION` again elsewhere; 0: only after `splitvm monitor rm`"},
			&cli.StringFlag{Name: "policy", Value: names[0], Usage: "place by `POLICY`: " + strings.Join(names, ", ")},
			&cli.FloatFlag{Name: "memory-overcommit", Value: 1, Usage: "promise each memory monitor's memory `TIMES`"},
			&cli.FloatFlag{Name: "vcpu-overcommit", Value: 32, Usage: "promise each processor monitor's vCPUs `TIMES`"},
			&cli.FloatFlag{Name: "disk-overcommit", Value: 2, Usage: "promise each storage monitor's space `TIMES`"},
			&cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics at http://`HOST:PORT`/metrics"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log each placement"},
		},
		Action: run,
	}
}

func run(ctx context.Context, c *cli.Command) error {
	if c.Args().Present() {
		return &usageError{fmt.Errorf("monitor global takes no argument %q (see `splitvm monitor global --help`)", c.Args().First())}
	}
	switch external := len(c.StringSlice("etcd-endpoints")) > 0; {
	case !external && c.String("data") == "":
		return &usageError{errors.New("monitor global: give --data DIR for the embedded etcd, or --etcd-endpoints URL")}
	case external && (c.String("data") != "" || c.String("peers") != ""):
		return &usageError{errors.New("monitor global: --data and --peers are the embedded etcd's: leave them out with --etcd-endpoints")}
	}
	policy, err := place.PolicyByName(c.String("policy"))
	if err != nil {
		return &usageError{fmt.Errorf("monitor global: %w", err)}
	}
	log := logger(c.Bool("verbose"))
	if err := threads.Nice(niceValue); err != nil {
		log.Warn("busy vNodes on this host can delay the rack: give the process CAP_SYS_NICE", "err", err)
	}
	return global.Run(ctx, global.Config{
		Listen: c.String("listen"), Name: c.String("name"), Lease: c.Duration("lease"), RepairAfter: c.Duration("repair-after"), Policy: policy,
		Etcd:             global.Etcd{Endpoints: c.StringSlice("etcd-endpoints"), Dir: c.String("data"), Name: c.String("name"), Peers: c.String("peers")},
		MemoryOvercommit: c.Float("memory-overcommit"), VCPUOvercommit: c.Float("vcpu-overcommit"), DiskOvercommit: c.Float("disk-overcommit"),
		Metrics: c.String("metrics"), Log: log,
	})
}

func logger(verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
