// Splitvm runs virtual machines whose CPU, memory and disk live in different
// processes on different hosts. This package is flags and wiring only; see
// `splitvm --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"
)

// Exit statuses of splitvm itself; `run` exits with the guest's own.
const (
	exitFailure = 1   // something went wrong
	exitUsage   = 2   // the command line is wrong
	exitRefused = 125 // run: the guest could not be started
	exitStopped = 128 // run: plus the signal's number, as a shell has it
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	err := execute(ctx, os.Args)
	stop()
	os.Exit(finish(err))
}

// execute runs the command that the arguments tell.
func execute(ctx context.Context, args []string) error {
	c := root()
	c.Metadata = map[string]any{argumentsKey: args}
	return c.Run(ctx, args)
}

const argumentsKey = "arguments"

// argumentsOf gives all arguments as they were given: a command's own don't tell
// which came after "--".
func argumentsOf(c *cli.Command) []string {
	args, _ := c.Root().Metadata[argumentsKey].([]string)
	return args
}

// finish prints err where there is something to say and picks the status.
func finish(err error) int {
	var status *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		if status.err != nil {
			fmt.Fprintln(os.Stderr, "splitvm:", status.err)
		}
		return status.code
	default:
		fmt.Fprintln(os.Stderr, "splitvm:", err)
		return exitFailure
	}
}

// exitError is an error with an exit status of its own; a nil err says nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func root() *cli.Command {
	c := &cli.Command{
		Name:                  "splitvm",
		Usage:                 "run virtual machines whose CPU, memory and disk are on different hosts",
		Version:               version(),
		EnableShellCompletion: true,
		ConfigureShellCompletionCommand: func(c *cli.Command) {
			c.Hidden = false
			c.Usage = "print a script that makes a shell complete splitvm's commands, flags and names"
			c.Description = completionDescription
		},
		Suggest:        true,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // finish prints it
		Commands:       commands(),
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return &exitError{exitUsage, fmt.Errorf("no command %q (see `splitvm --help`)", c.Args().First())}
			}
			return cli.ShowRootCommandHelp(c)
		},
	}
	explainUsage(c)
	return c
}

// explainUsage makes a wrong flag, at any depth, and an argument to a command
// that takes none, an error of one line that names the help to read.
func explainUsage(c *cli.Command) {
	c.DisableSliceFlagSeparator = true // a disk's options have commas of their own
	c.OnUsageError = func(_ context.Context, c *cli.Command, err error, _ bool) error {
		return &exitError{exitUsage, fmt.Errorf("%w (see `%s --help`)", err, c.FullName())}
	}
	if c.ArgsUsage == "" && c.Action != nil && len(c.Commands) == 0 {
		c.Before = func(ctx context.Context, c *cli.Command) (context.Context, error) {
			if c.Args().Present() && !completing(c) {
				return ctx, &exitError{exitUsage, fmt.Errorf("%s takes no argument %q (see `%s --help`)", c.FullName(), c.Args().First(), c.FullName())}
			}
			return ctx, nil
		}
	}
	for _, sub := range c.Commands {
		explainUsage(sub)
	}
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}
