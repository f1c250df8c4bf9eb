package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/urfave/cli/v3"

	"splitvm/monitors/storage"
)

const monitorStorageDescription = `Serves volumes to virtual machines on other hosts, until SIGINT or SIGTERM: their
blocks, and the commands of ` + "`splitvm volume`" + `. What a guest has flushed is on
stable storage in the data directory; every block has a checksum.

Every peer that can connect may read and write every volume: listen on a network
that only the rack's hosts are in, or on a unix socket (mode 0600).

Examples:
   splitvm monitor storage --listen 10.0.0.9:7080 --data /var/lib/splitvm

   # then a volume, and a VM that has it as a disk
   splitvm volume create --storage-monitor 10.0.0.9:7080 db 20G
   splitvm run --storage-monitor 10.0.0.9:7080 --volume db ...`

func monitorStorageCommand() *cli.Command {
	return &cli.Command{
		Name:        "storage",
		Usage:       "serve volumes to virtual machines on other hosts",
		Description: monitorStorageDescription,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "listen", Aliases: []string{"l"}, Required: true, Usage: "`HOST:PORT` or unix:PATH, or several with commas between"},
			&cli.StringFlag{Name: "data", Required: true, Usage: "`DIR` of the volumes; made if it is not there"},
			&cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics at http://`HOST:PORT`/metrics"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log each connection"},
		}, memberFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return &exitError{exitUsage, fmt.Errorf("monitor storage: unexpected argument %q (see `splitvm monitor storage --help`)", c.Args().First())}
			}
			level := slog.LevelInfo
			if c.Bool("verbose") {
				level = slog.LevelDebug
			}
			return storage.Run(ctx, storage.Config{
				Listen: addresses(c.StringSlice("listen")), Data: c.String("data"), Metrics: c.String("metrics"),
				Rack: storage.Rack{Global: globals(c), Name: memberName(c), Domain: c.String("domain")},
				Log:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
			})
		},
	}
}
