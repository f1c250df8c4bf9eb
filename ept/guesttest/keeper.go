package guesttest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"sync/atomic"

	"splitvm/ept/handoff"
)

const pagerVariable = "SPLITVM_TEST_PAGER"

// keep has the guest served: by the pager on descriptor 3, or by processes that
// are started again when they die.
func (g *guest) keep(ctx context.Context, h *handoff.Guest) (*handoff.Keeper, error) {
	if !g.Launch {
		return h.Supervise(ctx, inherited())
	}
	return h.Supervise(ctx, handoff.Launch(func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{pagerVariable + "=1"}
		cmd.Stderr = os.Stderr
		return cmd
	}))
}

// inherited starts with the pager on descriptor 3, and has no other.
func inherited() handoff.Starter {
	var used atomic.Bool
	return func(context.Context) (*net.UnixConn, func(), error) {
		if used.Swap(true) {
			return nil, nil, &handoff.Failed{Text: "the pager hung up"}
		}
		conn, err := connection()
		return conn, func() {}, err
	}
}

// connection returns the socket on descriptor 3.
func connection() (*net.UnixConn, error) {
	f := os.NewFile(3, "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}
