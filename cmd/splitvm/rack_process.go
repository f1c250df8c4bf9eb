package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// rackMark is the environment variable that all processes of a rack have,
// VMMs and pagers too.
const rackMark = "SPLITVM_RACK="

// rackPIDs lists the processes of a rack.
func rackPIDs(dir string) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err == nil && pid != os.Getpid() && ofRack(pid, dir) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func ofRack(pid int, dir string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && bytes.Contains(append([]byte{0}, env...), []byte("\x00"+rackMark+dir+"\x00"))
}

// endProcess ends a process of the rack, by force after patience, and waits.
func endProcess(pid int, dir string, patience time.Duration) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil // ended
	}
	defer unix.Close(fd)
	if !ofRack(pid, dir) {
		return nil // another one has the number now
	}
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if s == unix.SIGTERM && patience == 0 {
			continue
		}
		if err := unix.PidfdSendSignal(fd, s, nil, 0); err != nil {
			return nil // ended
		}
		if ended(fd, max(patience, 5*time.Second)) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

// ended waits for a pidfd.
func ended(fd int, patience time.Duration) bool {
	for end := time.Now().Add(patience); ; {
		left := time.Until(end)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
		if err == nil && n > 0 {
			return true
		}
	}
}
