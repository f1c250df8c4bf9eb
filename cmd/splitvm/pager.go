package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/urfave/cli/v3"

	"splitvm/ept/handoff"
)

// pagerSocket is the descriptor on which a pager meets its VMM (handoff.Launch).
const pagerSocket = 3

// blockingThreads is how many of a pager's threads are in blocking system calls at
// most times: a fault thread, and two connections to each of a few monitors.
const blockingThreads = 16

// pagerCommand is the process that serves one guest's memory. A VMM starts it.
func pagerCommand() *cli.Command {
	return &cli.Command{
		Name: "pager", Hidden: true,
		Usage: "serve a guest's memory to the VMM that started this process",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "checksums"}},
		Action: func(ctx context.Context, c *cli.Command) error {
			file := os.NewFile(pagerSocket, "vmm")
			if file == nil {
				return errors.New("pager: started without a VMM; `splitvm run --memory-monitor` starts pagers by itself")
			}
			conn, err := net.FileConn(file)
			file.Close()
			if err != nil {
				return fmt.Errorf("pager: descriptor %d is no socket: %w; `splitvm run --memory-monitor` starts pagers by itself", pagerSocket, err)
			}
			unix, ok := conn.(*net.UnixConn)
			if !ok {
				return fmt.Errorf("pager: descriptor %d is no unix socket", pagerSocket)
			}
			// A thread that blocks in a system call holds one of Go's processors
			// for a while; with too few, the thread that returns waits for one.
			runtime.GOMAXPROCS(runtime.NumCPU() + blockingThreads)
			// Signals of a terminal are the VMM's business: the pager ends when that hangs up.
			return handoff.Serve(context.WithoutCancel(ctx), unix, handoff.Remote{Checksums: c.Bool("checksums")})
		},
	}
}
