package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"splitvm/monitors/memory"
	"splitvm/remote"
)

const monitorMemoryDescription = `Serves lines of guest memory (4 KiB each) to processor monitors, until SIGINT
or SIGTERM. Physical memory is used as lines are written and freed as they are
discarded, up to --mem; a write beyond that is refused and changes nothing.
What the monitor holds is gone when it ends.

Every peer that can connect may read and write every vRegion: listen on a
network that only the rack's hosts are in, or on a socket of this host (mode 0600).

Examples:
   # 8 GiB for the rack
   splitvm monitor memory --listen 10.0.0.7:7070 --mem 8G

   # for VMs on this host too, which read lines from its memory themselves: twice as fast
   splitvm monitor memory --listen 10.0.0.7:7070,shm:/run/splitvm/memory.shm --mem 64G

   # with huge pages, checksums and a metrics endpoint
   splitvm monitor memory --listen 10.0.0.7:7070 --mem 64G --huge --checksums \
       --metrics 127.0.0.1:9470

   # then a VM whose memory is there
   splitvm run --memory-monitor 10.0.0.7:7070 --excache 512M ...`

func monitorMemoryCommand() *cli.Command {
	return &cli.Command{
		Name:        "memory",
		Usage:       "serve memory to virtual machines on other hosts",
		Description: monitorMemoryDescription,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "listen", Aliases: []string{"l"}, Required: true,
				Usage: "`HOST:PORT`, unix:PATH or shm:PATH (shared memory), or several with commas between"},
			&cli.StringFlag{Name: "mem", Aliases: []string{"m"}, Required: true, Validator: sizeFlag,
				Usage: "lines to hold at most, as `SIZE`"},
			&cli.BoolFlag{Name: "huge", Usage: "back lines with transparent huge pages; over shm: they are asked for one by one then"},
			&cli.BoolFlag{Name: "checksums", Usage: "agree to payload checksums with clients that ask"},
			&cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics at http://`HOST:PORT`/metrics"},
			&cli.DurationFlag{Name: "spin", Usage: "poll for demands for `DURATION` before sleeping: burns a processor per client"},
			&cli.Uint64Flag{Name: "id", Usage: "`NUMBER` of this monitor in the rack"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log each connection"},
		}, memberFlags()...),
		Action: runMonitorMemory,
	}
}

// addresses splits what --listen was given; the flag itself does not, since other
// flags have commas inside of their values.
func addresses(given []string) []string {
	var all []string
	for _, s := range given {
		all = append(all, strings.Split(s, ",")...)
	}
	return all
}

func runMonitorMemory(ctx context.Context, c *cli.Command) error {
	mem, err := parseSize(c.String("mem"))
	if err == nil && mem < remote.LineSize {
		err = fmt.Errorf("--mem %s: less than one line (4 KiB)", c.String("mem"))
	}
	if err == nil && c.Args().Present() {
		err = fmt.Errorf("unexpected argument %q", c.Args().First())
	}
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("monitor memory: %w (see `splitvm monitor memory --help`)", err)}
	}
	level := slog.LevelInfo
	if c.Bool("verbose") {
		level = slog.LevelDebug
	}
	return memory.Run(ctx, memory.Config{
		Listen:    addresses(c.StringSlice("listen")),
		Store:     memory.StoreConfig{Mem: mem, Huge: c.Bool("huge")},
		Monitor:   remote.MonitorID(c.Uint64("id")),
		Checksums: c.Bool("checksums"),
		Metrics:   c.String("metrics"),
		Spin:      c.Duration("spin"),
		Rack:      memory.Rack{Global: globals(c), Name: memberName(c), Domain: c.String("domain")},
		Log:       slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	})
}
