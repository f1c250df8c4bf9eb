package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/urfave/cli/v3"
)

func logsCommand() *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "show what a vNode has written",
		ArgsUsage: "VNODE",
		Description: `Shows the last mebibyte of what the guest's command wrote to its standard
output and error, or of its console where it has one. Of a vNode of a rack, which
need not run any more, it shows all that was written.

Example:
   splitvm logs -f web1`,
		Flags: []cli.Flag{globalFlag(), &cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the vNode ends"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			name, err := oneName(c)
			if err != nil {
				return err
			}
			if _, err := os.Stat(controlPath(name)); err != nil || c.IsSet("global") {
				return rackLogs(ctx, c, name)
			}
			path := "/logs"
			if c.Bool("follow") {
				path += "?follow=1"
			}
			conn, err := runningVNodes{c}.upgrade(ctx, name, path, upgradeStream)
			if err != nil {
				return fmt.Errorf("logs: %w", err)
			}
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			defer conn.Close()
			if _, err := io.Copy(os.Stdout, conn); err != nil && ctx.Err() == nil {
				return fmt.Errorf("logs: %w", err)
			}
			return nil
		},
	}
}

// upgradeStream is what connections for a vNode's output turn into: bytes.
const upgradeStream = "splitvm-stream"

// serveLogs writes what is kept of the output and, for followers, what comes.
func (n *vnode) serveLogs(w http.ResponseWriter, r *http.Request) {
	end := n.io.written.at(0)
	if r.URL.Query().Get("follow") != "" {
		end = -1
	}
	conn, err := serveUpgrade(w, r, upgradeStream)
	if err != nil {
		return
	}
	defer conn.Close()
	n.io.written.send(conn, 0, end)
}

// send writes the transcript from a position to an end, or for ever if that is
// negative; until the client is gone.
func (t *transcript) send(client io.ReadWriter, from, end int64) {
	if !t.begin() {
		return
	}
	defer t.clients.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		io.Copy(io.Discard, client) // it says nothing: this is its end
		cancel()
	}()
	buf := make([]byte, 64<<10)
	for end < 0 || from < end {
		n, next := t.read(ctx, from, buf)
		if n == 0 {
			return
		}
		if end >= 0 && next > end {
			n -= int(next - end)
		}
		if _, err := client.Write(buf[:max(n, 0)]); err != nil {
			return
		}
		from = next
	}
}
