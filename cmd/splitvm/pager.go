package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/urfave/cli/v3"

	"splitvm/ept/handoff"
)

// pagerSocket is the descriptor on which a pager meets its VMM (handoff.Launch).
const pagerSocket = 3

// pagerCommand is the process that serves one guest's memory. A VMM starts it.
func pagerCommand() *cli.Command {
	return &cli.Command{
		Name: "pager", Hidden: true,
		Usage: "serve a guest's memory to the VMM that started this process",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "checksums"}, &cli.Uint64Flag{Name: "vnode", Usage: "vID"}},
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
			// Signals of a terminal are the VMM's business: the pager ends when that hangs up.
			slog.SetDefault(vnodeLog(slog.LevelWarn, c.Uint64("vnode"))) // what it says is among the guest's own output
			err = handoff.Serve(context.WithoutCancel(ctx), unix, handoff.Remote{Checksums: c.Bool("checksums")})
			if failure := (*handoff.Failure)(nil); errors.As(err, &failure) {
				return &exitError{code: exitRefused} // the VMM has been told, and tells the user
			}
			return err
		},
	}
}
