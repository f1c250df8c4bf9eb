package main

import (
	"log/slog"
	"os"

	"github.com/urfave/cli/v3"
)

// memberFlags are those of a monitor that may join a rack.
func memberFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "global", Usage: "join the rack of the global monitor at `HOST:PORT`; commas separate several"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of this monitor in the rack; the host's by default"},
		&cli.StringFlag{Name: "domain", Usage: "failure `DOMAIN`: what fails together with others of the same, such as a host or a power feed"},
	}
}

// globals are the given addresses of global monitors.
func globals(c *cli.Command) []string { return addresses(c.StringSlice("global")) }

func memberName(c *cli.Command) string {
	if name := c.String("name"); name != "" {
		return name
	}
	name, err := os.Hostname()
	if err != nil {
		return "monitor"
	}
	return name
}

// monitorLog logs to the standard error.
func monitorLog(verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
