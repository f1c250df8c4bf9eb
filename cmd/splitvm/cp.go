package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"splitvm/guest/agent"
	"splitvm/guest/agent/tree"
)

func cpCommand() *cli.Command {
	return &cli.Command{
		Name:      "cp",
		Usage:     "copy files between a running vNode and this host",
		ArgsUsage: "VNODE:PATH LOCAL | LOCAL VNODE:PATH",
		Description: `Copies a file, or a directory with all in it: into the target if that is a
directory, otherwise as it. Modes and times are kept, owners are not. With - for
LOCAL a tar archive comes from standard input or goes to standard output.

Examples:
   splitvm cp web1:/var/log/messages .
   splitvm cp ./site web1:/srv
   splitvm cp web1:/etc - | tar tv`,
		Flags: []cli.Flag{globalFlag()},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Len() != 2 {
				return &exitError{exitUsage, errors.New("cp: give a source and a target, one of them as VNODE:PATH")}
			}
			from, to := c.Args().Get(0), c.Args().Get(1)
			var err error
			if name, path, ok := inVNode(from); ok {
				err = copyOut(ctx, runningVNodes{c}, name, path, to)
			} else if name, path, ok := inVNode(to); ok {
				err = copyIn(ctx, runningVNodes{c}, name, path, from)
			} else {
				return &exitError{exitUsage, fmt.Errorf("cp: neither %s nor %s is VNODE:PATH with an absolute path", from, to)}
			}
			if err != nil {
				return fmt.Errorf("cp: %w", err)
			}
			return nil
		},
	}
}

// inVNode reads VNODE:PATH; a name with a slash before the colon is a file's.
func inVNode(s string) (name, path string, ok bool) {
	name, path, ok = strings.Cut(s, ":")
	return name, path, ok && nameOK(name) && strings.HasPrefix(path, "/")
}

// copyIn sends an archive of a local tree, or one from standard input.
func copyIn(ctx context.Context, vnodes agentDialer, name, path, local string) error {
	if local == "-" {
		return copySession(ctx, vnodes, name, agent.Request{Put: path}, agent.Streams{In: os.Stdin})
	}
	if _, err := os.Lstat(local); err != nil {
		return err
	}
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := tree.Pack(w, local)
		w.CloseWithError(err)
		packed <- err
	}()
	err := copySession(ctx, vnodes, name, agent.Request{Put: path}, agent.Streams{In: r})
	r.CloseWithError(err) // so that Pack ends
	if packErr := <-packed; packErr != nil && !errors.Is(packErr, io.ErrClosedPipe) && (err == nil || !errors.Is(packErr, err)) {
		return packErr // for which the guest says only that the archive is cut short
	}
	return err
}

// copyOut unpacks an archive of the guest's, which is not trusted, or passes it
// on.
func copyOut(ctx context.Context, vnodes agentDialer, name, path, local string) error {
	if local == "-" {
		return copySession(ctx, vnodes, name, agent.Request{Get: path}, agent.Streams{Out: os.Stdout})
	}
	r, w := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := tree.Unpack(r, local)
		if err == nil {
			_, err = io.Copy(io.Discard, r) // what is behind the archive's end
		}
		r.CloseWithError(err)
		unpacked <- err
	}()
	err := copySession(ctx, vnodes, name, agent.Request{Get: path}, agent.Streams{Out: w})
	w.CloseWithError(err)
	if unpackErr := <-unpacked; err == nil || errors.Is(err, unpackErr) {
		err = unpackErr
	}
	return err
}
