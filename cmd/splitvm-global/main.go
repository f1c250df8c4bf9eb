// Splitvm-global is what `splitvm monitor global` becomes: the global monitors,
// with etcd in them. It is a program of its own because each VMM and pager would
// carry etcd otherwise: 9 MB of program, 7 MiB of resident memory and a third of
// the time from exec to the first guest instruction.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Exit statuses, as splitvm's own.
const (
	exitFailure = 1 // something went wrong
	exitUsage   = 2 // the command line is wrong
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	err := command().Run(ctx, os.Args)
	stop()
	os.Exit(finish(err))
}

// usageError is a wrong command line.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// finish prints err and picks the status.
func finish(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "splitvm:", err)
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}
