package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"

	"splitvm/guest/agent"
	"splitvm/guest/init/cmdline"
)

const execDescription = `Runs a command in a guest that splitvm's own init started, beside its own.
Environment, directory and user are those of the guest's command unless given.

With -t the command gets a terminal of this one's size; Ctrl-C is the
command's. Without, SIGINT and SIGTERM go to the command.

Exit status: the command's own; 128+N if signal N killed it; 126 and 127 as in
a shell; 125 if the guest can't run anything.

Examples:
   splitvm exec web1 -- ps
   splitvm exec -it web1 -- /bin/sh
   tar c . | splitvm exec -i web1 -- tar x -C /srv`

func execCommand() *cli.Command {
	return &cli.Command{
		Name:                   "exec",
		Usage:                  "run a command in a running vNode",
		ArgsUsage:              "VNODE -- COMMAND [ARG...]",
		Description:            execDescription,
		UseShortOptionHandling: true,
		Flags: []cli.Flag{
			globalFlag(),
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "give the command this process's standard input"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the command a terminal"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "`NAME=VALUE` for the command"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "`DIR` in which it runs"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "`USER[:GROUP]` as which it runs"},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			args := c.Args().Slice()
			if len(args) < 2 || !nameOK(args[0]) {
				return &exitError{exitUsage, errors.New("exec: give a vNode and a command, as in `splitvm exec VNODE -- COMMAND`")}
			}
			cmd := cmdline.Command{Argv: args[1:], Env: c.StringSlice("env"), Cwd: c.String("workdir"), User: c.String("user"), TTY: c.Bool("tty")}
			return execStatus(execIn(ctx, runningVNodes{c}, args[0], cmd, c.Bool("interactive")))
		},
	}
}

// execStatus is the command's status as splitvm's own.
func execStatus(st agent.Status, err error) error {
	var f *agent.Failure
	switch {
	case errors.As(err, &f):
		return &exitError{int(f.Status), fmt.Errorf("exec: %w", err)}
	case err != nil:
		return &exitError{exitRefused, fmt.Errorf("exec: %w", err)}
	case st.ExitStatus() != 0:
		return &exitError{code: st.ExitStatus()}
	}
	return nil
}

// agentWait is for a guest that is still booting.
const agentWait = 10 * time.Second

// execIn runs a command on this process's streams.
func execIn(ctx context.Context, vnodes agentDialer, name string, cmd cmdline.Command, interactive bool) (st agent.Status, err error) {
	dialing, cancel := context.WithTimeout(ctx, agentWait)
	conn, err := vnodes.dialAgent(dialing, name)
	cancel()
	if err != nil {
		return st, err
	}
	req, streams := agent.Request{Exec: &cmd}, agent.Streams{Out: os.Stdout, Err: os.Stderr}
	if interactive {
		streams.In = os.Stdin
	}
	if cmd.TTY {
		t, err := openTerminal(os.Stdin, os.Stdout)
		if err != nil {
			return st, errors.Join(err, conn.Close())
		}
		defer func() { err = errors.Join(err, t.close()) }()
		req.Size = sizeOf(t)
		if term := os.Getenv("TERM"); term != "" {
			cmd.Env = append([]string{"TERM=" + term}, cmd.Env...)
		}
		sizes, stop := watchSize(t)
		defer stop()
		streams.Sizes = sizes
	}
	signals, stop := watchSignals()
	defer stop()
	streams.Signals = signals
	return agent.Run(context.WithoutCancel(ctx), conn, req, streams) // signals are the command's
}

func sizeOf(t *terminal) agent.Size {
	cols, rows := t.size()
	return agent.Size{Cols: uint16(cols), Rows: uint16(rows)}
}

// watchSize tells the terminal's size whenever it changes, until stop.
func watchSize(t *terminal) (sizes <-chan agent.Size, stop func()) {
	return watch(func(os.Signal) agent.Size { return sizeOf(t) }, unix.SIGWINCH)
}

// watchSignals tells this process's signals.
func watchSignals() (signals <-chan uint8, stop func()) {
	return watch(func(s os.Signal) uint8 { return uint8(s.(unix.Signal)) }, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
}

// watch tells what f makes of each of the signals.
func watch[T any](f func(os.Signal) T, which ...os.Signal) (<-chan T, func()) {
	in, out, done := make(chan os.Signal, 8), make(chan T), make(chan struct{})
	signal.Notify(in, which...)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case s := <-in:
				select {
				case out <- f(s):
				case <-done:
					return
				}
			case <-done:
				return
			}
		}
	}()
	return out, func() { signal.Stop(in); close(done); <-ended }
}

// copySession is a session that carries an archive.
func copySession(ctx context.Context, vnodes agentDialer, name string, req agent.Request, s agent.Streams) error {
	dialing, cancel := context.WithTimeout(ctx, agentWait)
	conn, err := vnodes.dialAgent(dialing, name)
	cancel()
	if err != nil {
		return err
	}
	if s.Err == nil {
		s.Err = io.Discard
	}
	_, err = agent.Run(ctx, conn, req, s)
	return err
}
