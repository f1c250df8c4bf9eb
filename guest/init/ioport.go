//go:build linux && amd64

package main

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// outw writes a word to an I/O port. The thread must have been given the port.
func outw(port, value uint16)

// writeIOPort writes a word to an I/O port. /dev/port is not in every kernel
// (Debian's cloud kernels lack it); ioperm is.
func writeIOPort(port, value uint16) error {
	runtime.LockOSThread() // ioperm is of the thread
	defer runtime.UnlockOSThread()
	if err := unix.Ioperm(int(port), 2, 1); err != nil {
		return fmt.Errorf("get at the I/O port %#x: %w", port, err)
	}
	outw(port, value)
	return unix.Ioperm(int(port), 2, 0)
}
