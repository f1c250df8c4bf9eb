// Rig boots a machine with nested virtualization in QEMU's emulation and runs
// commands, tests or a shell in it. See package splitvm/integration/rig.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"

	"splitvm/integration/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	err := root().Run(ctx, os.Args)
	stop()
	os.Exit(report(err))
}

// exitOwn is the status where it isn't a command in the machine that failed.
const exitOwn = 125

// report prints err where there is something to say and picks the status: that
// of the command in the machine where it is what failed.
func report(err error) int {
	if err == nil {
		return 0
	}
	var exit *rig.ExitError
	if errors.As(err, &exit) && exit.Code > 0 {
		return exit.Code
	}
	fmt.Fprintln(os.Stderr, err)
	return exitOwn
}

func root() *cli.Command {
	// A bad command line is reported once, by main.
	return &cli.Command{
		Name:  "rig",
		Usage: "run Linux guests where there is no hardware virtualization",
		Description: "Boots a machine (L1) with nested SVM in QEMU's emulation. Guests that are started in it run on\n" +
			"real kvm_amd semantics. Packages that it is made of are fetched once, into $SPLITVM_CACHE or the\n" +
			"user's cache folder; nothing is installed.\n\n" +
			"The exit status is that of the command in the machine, or 125 where rig itself failed.\n\n" +
			"Examples:\n" +
			"   rig fetch\n" +
			"   rig shell\n" +
			"   rig test -run 'Boot/6.12'\n" +
			"   rig run -- splitvm doctor\n" +
			"   rig run --file ./disk.raw:/root/disk.raw -- sh -c 'ls -l /root; qemu-system-x86_64 --version'\n" +
			"   rig run --disk /srv/big.raw:big -- mount /dev/rig/big /mnt",
		Commands:       []*cli.Command{fetchCommand(), runCommand(), shellCommand(), testCommand()},
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
	}
}

// progress is where a command says what it is doing.
func progress(c *cli.Command) io.Writer {
	if c.Bool("quiet") {
		return io.Discard
	}
	return os.Stderr
}
