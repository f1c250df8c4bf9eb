package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// watchParent calls died when the process that started this one has ended. A
// parent-death signal would come at the end of the parent's thread instead.
func watchParent(died func()) {
	parent := os.Getppid()
	fd, err := unix.PidfdOpen(parent, 0)
	if err != nil || os.Getppid() != parent {
		died()
		return
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err != unix.EINTR && (err != nil || n > 0) {
			died()
			return
		}
	}
}
