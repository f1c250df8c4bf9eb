//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	termGrace     = 2 * time.Second      // for processes to end after SIGTERM
	killGrace     = 2 * time.Second      // and after SIGKILL: one may be stuck in the kernel
	reapPoll      = 2 * time.Millisecond // between looks for ended processes
	unmountBudget = 20 * time.Second     // for all writing back; a dead disk must not keep the guest
)

// shutDown ends every process and puts the disks into a state in which the guest
// can be killed. It takes a bounded time.
func shutDown(r *reaper) {
	for _, s := range []struct {
		sig   unix.Signal
		grace time.Duration
	}{{unix.SIGTERM, termGrace}, {unix.SIGKILL, killGrace}} {
		if endProcesses(r, s.sig, s.grace) {
			break
		}
	}
	written := make(chan struct{})
	go func() { // not waited for if a disk hangs: the guest ends
		defer close(written)
		unix.Sync()
		unmountAll()
	}()
	select {
	case <-written:
	case <-time.After(unmountBudget):
		logError(fmt.Errorf("the disks were not written back within %v: powering off without", unmountBudget))
	}
	step("disks synced")
}

// endProcesses sends the signal to every process and tells whether all ended
// within the grace. Every process is a child of this one, or becomes one when
// its parent ends, so none is left when there is no child.
func endProcesses(r *reaper, sig unix.Signal, grace time.Duration) bool {
	if r.collect() {
		return true
	}
	if err := unix.Kill(-1, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		logError(fmt.Errorf("send every process signal %d: %w", sig, err))
	}
	for deadline := time.Now().Add(grace); time.Now().Before(deadline); time.Sleep(reapPoll) {
		if r.collect() {
			return true
		}
	}
	return false
}

// unmountAll unmounts all that was mounted below the root, latest first, and
// makes the root read-only. Mounts of the kernel's own that are in use stay.
func unmountAll() {
	data, err := os.ReadFile("/proc/mounts")
	if err != nil {
		logError(fmt.Errorf("list mounts: %w", err))
		return
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	slices.Reverse(lines)
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "/dev/") || f[1] == "/" {
			continue // not on a disk
		}
		dir := unescapeMount(f[1])
		if err := unix.Unmount(dir, 0); err != nil {
			makeReadOnly(dir)
		}
	}
	makeReadOnly("/")
}

func makeReadOnly(dir string) {
	err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: the initramfs itself
		logError(fmt.Errorf("make %s read-only: %w", dir, err))
	}
}

// unescapeMount undoes the octal escapes of a path in /proc/mounts.
func unescapeMount(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// powerOff ends the guest. It does not return.
func powerOff() {
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	logError(fmt.Errorf("power off: %w", err))
	err = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	panic(fmt.Sprintf("init: neither power off nor restart: %v", err)) // the kernel panics as its process 1 ends
}
