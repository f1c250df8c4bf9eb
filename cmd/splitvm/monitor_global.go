package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"
)

// monitorGlobalCommand turns this process into splitvm-global, which has etcd in
// it and reads the flags.
func monitorGlobalCommand() *cli.Command {
	return &cli.Command{
		Name:  "global",
		Usage: "keep the rack together: membership, placement, vNodes",
		Description: `The program splitvm-global, which is beside this one, is the monitor and tells its options.

Examples:
   splitvm monitor global --help
   splitvm monitor global --listen 10.0.0.1:7400 --data /var/lib/splitvm/global`,
		ArgsUsage:       "[options]",
		SkipFlagParsing: true,
		Action: func(_ context.Context, c *cli.Command) error {
			program, err := companion("splitvm-global", "SPLITVM_GLOBAL_PROGRAM")
			if err != nil {
				return fmt.Errorf("monitor global: %w", err)
			}
			args := append([]string{"splitvm-global"}, c.Args().Slice()...)
			if err := unix.Exec(program, args, os.Environ()); err != nil {
				return fmt.Errorf("monitor global: exec %s: %w", program, err)
			}
			return nil
		},
	}
}
