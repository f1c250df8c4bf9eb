//go:build linux && amd64

package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Priorities of /dev/kmsg, as of syslog. A "quiet" kernel shows errors only.
const (
	priorityError = 3
	priorityInfo  = 6
)

// The log is the kernel's: set once by the main goroutine before others start.
var (
	kmsg    *os.File // nil before openLog, or without /dev/kmsg
	verbose bool
)

func openLog() {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err == nil {
		kmsg = f
	}
}

func logError(err error) {
	for line := range strings.Lines(err.Error()) {
		logLine(priorityError, strings.TrimSpace(line))
	}
}

// logf tells a detail; it reaches the console of a kernel that is not quiet.
func logf(format string, args ...any) { logLine(priorityInfo, fmt.Sprintf(format, args...)) }

// beVerbose has every step told. Linux lets through 10 lines in 5 s otherwise.
func beVerbose() {
	verbose = true
	if err := os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0); err != nil {
		logf("%v", err) // printk.devkmsg= on the command line forbids it
	}
}

// step tells how far the guest is, if the host wants to know.
func step(what string) {
	if verbose {
		logLine(priorityError, fmt.Sprintf("%v: %s", uptime().Truncate(100*time.Microsecond), what))
	}
}

func logLine(priority int, line string) {
	if kmsg != nil {
		fmt.Fprintf(kmsg, "<%d>splitvm-init: %s\n", priority, line)
		return
	}
	fmt.Fprintf(os.Stderr, "splitvm-init: %s\n", line)
}

// uptime is the kernel's age.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
