//go:build amd64

package micro

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// maxSetup bounds a setup message.
const maxSetup = 64 << 10

// startWithSocket starts a part that has the other end of the returned
// connection at socketFD.
func startWithSocket(ctx context.Context, parts Parts, role string) (*exec.Cmd, *net.UnixConn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("start part %s: socketpair: %w", role, err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "part")
	defer theirs.Close()
	ours, err := connOf(fds[0])
	if err != nil {
		return nil, nil, err
	}
	cmd := parts(ctx, role)
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start part %s: %w", role, err), ours.Close())
	}
	return cmd, ours, nil
}

// connOf takes over a connected unix socket.
func connOf(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("descriptor %d is no unix socket", fd)
	}
	return u, nil
}

// sendSetup sends v with descriptors.
func sendSetup(c *net.UnixConn, v any, fds ...int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxSetup {
		return fmt.Errorf("setup of %d bytes", len(b))
	}
	_, _, err = c.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	return err
}

// receiveSetup receives v with n descriptors.
func receiveSetup(c *net.UnixConn, v any, n int) ([]int, error) {
	b, control := make([]byte, maxSetup), make([]byte, unix.CmsgSpace(4*n))
	got, gotControl, _, _, err := c.ReadMsgUnix(b, control)
	if err != nil {
		return nil, fmt.Errorf("receive setup: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:gotControl])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive setup: %d control messages, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != n {
		return nil, fmt.Errorf("receive setup: %d descriptors, want %d: %w", len(fds), n, err)
	}
	return fds, json.Unmarshal(b[:got], v)
}
