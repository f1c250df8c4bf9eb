package main

import (
	"context"
	"slices"
	"strconv"

	"github.com/urfave/cli/v3"

	"splitvm/guest/linuxabi"
)

func syscallsCommand() *cli.Command {
	return &cli.Command{
		Name:  "syscalls",
		Usage: "list Linux's system calls, and which monitor answers for each",
		Description: `Shows the amd64 system calls of Linux: number, name, the monitor (processor,
memory, storage or network) that each belongs to in a splitkernel, how far gVisor's
Sentry, the kernel of process guests, implements it (full, partial, unimplemented,
absent), and whether LegoOS ran it.

Examples:
   splitvm syscalls --monitor memory
   splitvm syscalls --lego --unsupported
   splitvm syscalls -o json | jq -r '.[] | select(.support == "partial") | .name + ": " + .note'`,
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "monitor", Aliases: []string{"m"}, Usage: "only those of `MONITOR`: processor, memory, storage or network",
				Validator: func(s string) error {
					_, err := linuxabi.ParseMonitor(s)
					return err
				},
			},
			&cli.BoolFlag{Name: "lego", Usage: "only those that LegoOS ran"},
			&cli.BoolFlag{Name: "unsupported", Usage: "only those that fail in a process guest, as gVisor lacks them"},
			outputFlag(),
		},
		Action: func(_ context.Context, c *cli.Command) error {
			calls := slices.DeleteFunc(linuxabi.All(), func(s linuxabi.Syscall) bool {
				return c.String("monitor") != "" && s.Monitor.String() != c.String("monitor") ||
					c.Bool("lego") && !s.Lego || c.Bool("unsupported") && s.Support.Works()
			})
			return print(c, calls, syscallTable(calls))
		},
	}
}

func syscallTable(calls []linuxabi.Syscall) table {
	t := table{head: []string{"NUMBER", "NAME", "MONITOR", "SUPPORT", "LEGO", "NOTE"}}
	for _, s := range calls {
		lego := ""
		if s.Lego {
			lego = "yes"
		}
		t.rows = append(t.rows, []string{strconv.Itoa(int(s.Number)), s.Name, s.Monitor.String(), s.Support.String(), lego, s.Note})
	}
	return t
}
