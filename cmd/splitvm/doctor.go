package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"

	"splitvm/vmm/probe"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "tell whether this host can run vNodes, and what to change where not",
		Description: `Looks at KVM and the speed of its ring 0, userfaultfd, tap devices,
memory and descriptor limits, and how CPUs are shared. Exits with 1 if vNodes can't run.

Examples:
   splitvm doctor
   splitvm doctor -o json | jq '.[] | select(.level != "ok")'`,
		Flags: []cli.Flag{outputFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			checks := probe.Host(ctx)
			t := table{head: []string{"CHECK", "LEVEL", "FOUND", "WHAT TO DO"}}
			failed := false
			for _, k := range checks {
				t.rows = append(t.rows, []string{k.Name, string(k.Level), k.Found, k.Remedy})
				failed = failed || k.Level == probe.Fail
			}
			if err := print(c, checks, t); err != nil {
				return err
			}
			if failed {
				return &exitError{exitFailure, errors.New("vNodes can't run on this host until the failed checks are mended")}
			}
			return nil
		},
	}
}
