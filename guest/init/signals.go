//go:build linux && amd64

package main

import (
	"fmt"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that reach a process 1 from inside the guest and
// are meant for the command: the kernel's own Ctrl-Alt-Del (SIGINT) and power
// failure among them.
var forwarded = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT, unix.SIGWINCH, unix.SIGPWR,
}

// forwardSignals passes this process's signals, and those that the host asks
// for, on to the command until it is stopped, which waits for the last to be
// passed on.
func forwardSignals(command *process, host *hostLink) (stop func()) {
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		logError(fmt.Errorf("have Ctrl-Alt-Del sent as a signal: %w", err))
	}
	var ended sync.WaitGroup
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	ended.Go(func() {
		for s := range signals {
			send(command, s.(unix.Signal))
		}
	})
	ended.Go(func() { host.requests(func(sig unix.Signal) { send(command, sig) }) })
	return func() {
		signal.Stop(signals)
		close(signals)
		host.stopRequests()
		ended.Wait()
	}
}

// send sends a signal to the command. Power failure is told as SIGTERM, which
// programs know.
func send(command *process, sig unix.Signal) {
	if sig == unix.SIGPWR {
		sig = unix.SIGTERM
	}
	command.signal(sig, false)
}
