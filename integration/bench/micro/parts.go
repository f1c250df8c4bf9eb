//go:build amd64

package micro

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Parts starts processes that run a part: Part, with the role as its argument.
type Parts func(ctx context.Context, role string) *exec.Cmd

// Roles of parts.
const (
	roleGuest   = "guest"
	roleFloor   = "floor"   // serves the floor's faults, over the socket at descriptor 3
	roleMonitor = "monitor" // a memory monitor, likewise
	// RolePager is splitvm's pager, likewise: Parts may give its own command.
	RolePager = "pager"
)

// socketFD is where a part finds the socket to the process that started it.
const socketFD = 3

// Part runs a part in this process until its work is done.
func Part(ctx context.Context, role string, parts Parts) error {
	switch role {
	case roleGuest:
		// It must not outlive the conductor. The others end when their socket
		// is closed; this signal would kill them as soon as the thread that
		// started them ends, which may be a vCPU's.
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return fmt.Errorf("bench part %s: %w", role, err)
		}
		return guestPart(ctx, os.Stdin, os.Stdout, parts)
	case roleFloor:
		return floorPart(ctx, socketFD)
	case roleMonitor:
		return monitorPart(socketFD)
	case RolePager:
		return pagerPart(ctx, socketFD)
	}
	return fmt.Errorf("bench part: unknown role %q", role)
}
