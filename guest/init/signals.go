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
// passed on. It may be stopped after the command was reaped: a pidfd never means
// another process.
func forwardSignals(pid int, host *hostLink) (stop func(), err error) {
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		logError(fmt.Errorf("have Ctrl-Alt-Del sent as a signal: %w", err))
	}
	command, err := unix.PidfdOpen(pid, 0) // Linux 5.3
	if err != nil {
		return nil, fmt.Errorf("open the command for signals: %w", err)
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
		unix.Close(command)
	}, nil
}

// send sends a signal to the command. Power failure is told as SIGTERM, which
// programs know.
func send(command int, sig unix.Signal) {
	if sig == unix.SIGPWR {
		sig = unix.SIGTERM
	}
	if err := unix.PidfdSendSignal(command, sig, nil, 0); err != nil {
		logf("send the command signal %d: %v", sig, err)
	}
}
