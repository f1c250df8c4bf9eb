package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"splitvm/integration/rig"
	"splitvm/integration/rig/debs"
)

// machineFlags are those of the commands that boot a machine.
func machineFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringSliceFlag{Name: "file", Aliases: []string{"f"}, Usage: "put the file or folder `HOST:RIG` into the machine's memory"},
		&cli.StringSliceFlag{Name: "disk", Aliases: []string{"d"}, Usage: "attach the raw image `HOST:SERIAL[:ro]` as /dev/rig/SERIAL"},
		&cli.IntFlag{Name: "cpus", Value: 1, Usage: "the machine's CPUs; with more, the emulated processor errs now and then"},
		&cli.IntFlag{Name: "mem", Value: 6, Usage: "the machine's memory in `GIB`"},
		&cli.IntFlag{Name: "scratch", Value: 8, Usage: "size of the disk at /scratch in `GIB`"},
		&cli.StringFlag{Name: "splitvm", Usage: "put the static program `FILE` into the machine as splitvm, or none; the default is to build it"},
		&cli.BoolFlag{Name: "console", Usage: "show the machine's kernel console on the standard error"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say nothing of what takes long"},
	)
}

func machineOptions(c *cli.Command) (rig.Options, error) {
	o := rig.Options{
		CPUs: int(c.Int("cpus")), Memory: int64(c.Int("mem")) << 30, Scratch: int64(c.Int("scratch")) << 30,
		Progress: progress(c),
	}
	if c.Bool("console") {
		o.Console = os.Stderr
	}
	for _, f := range c.StringSlice("file") {
		host, inside, ok := strings.Cut(f, ":")
		if !ok {
			return o, fmt.Errorf("rig: --file %s: give it as HOST:RIG, ./x:/root/x", f)
		}
		o.Files = append(o.Files, rig.File{Host: host, Rig: inside})
	}
	for _, d := range c.StringSlice("disk") {
		words := strings.Split(d, ":")
		if len(words) < 2 || len(words) > 3 || (len(words) == 3 && words[2] != "ro") {
			return o, fmt.Errorf("rig: --disk %s: give it as HOST:SERIAL or HOST:SERIAL:ro", d)
		}
		path, err := filepath.Abs(words[0])
		if err != nil {
			return o, err
		}
		o.Disks = append(o.Disks, rig.Disk{Path: path, Serial: words[1], ReadOnly: len(words) == 3})
	}
	return o, nil
}

func fetchCommand() *cli.Command {
	return &cli.Command{
		Name:  "fetch",
		Usage: "fetch the packages that the machine is made of, so that all else works without the network",
		Description: "From the Debian archive that apt's sources name, or that $" + debs.MirrorEnv + " does.\n\n" +
			"Examples:\n   rig fetch\n   rig fetch --refresh --prune",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "refresh", Usage: "fetch the newest versions, also where some are there"},
			&cli.BoolFlag{Name: "prune", Usage: "then remove versions that are no longer used (no machine may be running)"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say nothing of what takes long"},
		},
		Action: fetch,
	}
}

func fetch(ctx context.Context, c *cli.Command) error {
	cache, err := debs.Open("", progress(c))
	if err != nil {
		return err
	}
	if c.Bool("refresh") {
		if err := cache.Refresh(ctx); err != nil {
			return err
		}
	}
	have, err := rig.Fetch(ctx, cache)
	if err != nil {
		return err
	}
	if c.Bool("prune") {
		if err := cache.Prune(ctx, have.Dirs()...); err != nil {
			return err
		}
	}
	fmt.Print(have)
	return nil
}

func runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a command in a machine and exit with its status",
		ArgsUsage: "-- COMMAND [ARG...]",
		Description: "splitvm is there as /bin/splitvm. The standard input goes to the command.\n\n" +
			"Examples:\n   rig run -- splitvm doctor\n   rig run -- sh -c 'ls /kernels/*'\n   rig run -t -- splitvm run --help",
		Flags: machineFlags(
			&cli.StringSliceFlag{Name: "pull", Usage: "afterwards, whatever the status, copy the machine's `PATH` to the current folder"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the command our terminal, as rig shell does"},
			&cli.BoolFlag{Name: "time", Usage: "tell the time that booting took"},
		),
		Action: run,
	}
}

func run(ctx context.Context, c *cli.Command) error {
	if c.Args().Len() == 0 {
		return errors.New("rig: run: no command; rig run -- COMMAND [ARG...]")
	}
	o, err := machineOptions(c)
	if err != nil {
		return err
	}
	m, err := rig.StartWithSplitvm(ctx, o, c.String("splitvm"))
	if err != nil {
		return err
	}
	if c.Bool("time") {
		fmt.Fprintf(os.Stderr, "rig: booted in %v\n", m.Times())
	}
	cmd := rig.Cmd{Args: c.Args().Slice(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if c.Bool("tty") {
		err = interact(ctx, m, cmd)
	} else {
		err = m.Run(ctx, cmd)
	}
	for _, path := range c.StringSlice("pull") {
		_, pullErr := m.Pull(ctx, path, ".")
		err = errors.Join(err, pullErr)
	}
	return errors.Join(err, m.Close())
}

func testCommand() *cli.Command {
	return &cli.Command{
		Name:        "test",
		Usage:       "run Go tests in one machine",
		Description: "Examples:\n   rig test\n   rig test -run 'TestBoot/6.12' -count 3\n   rig test --package splitvm/vmm/kvm",
		Flags: machineFlags(
			&cli.StringFlag{Name: "package", Aliases: []string{"p"}, Value: rig.DefaultTests, Usage: "the tests' import path"},
			&cli.StringFlag{Name: "run", Usage: "run the tests that match `REGEXP`"},
			&cli.IntFlag{Name: "count", Value: 1, Usage: "run each so many times"},
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Minute, Usage: "of all tests"},
			&cli.BoolFlag{Name: "short", Usage: "as of go test"},
			&cli.StringFlag{Name: "bench", Usage: "run the benchmarks that match `REGEXP`, and no tests unless --run names some"},
			&cli.StringFlag{Name: "benchtime", Usage: "as of go test, such as 5x"},
		),
		Action: test,
	}
}

func test(ctx context.Context, c *cli.Command) error {
	o, err := machineOptions(c)
	if err != nil {
		return err
	}
	t := rig.Tests{Package: c.String("package"), Run: c.String("run"), Count: int(c.Int("count")), Timeout: c.Duration("timeout"), Output: os.Stdout, Splitvm: c.String("splitvm"), Options: o}
	if c.Bool("short") {
		t.Args = append(t.Args, "-test.short")
	}
	if bench := c.String("bench"); bench != "" {
		t.Args = append(t.Args, "-test.bench="+bench)
		if t.Run == "" {
			t.Run = "^$"
		}
	}
	if n := c.String("benchtime"); n != "" {
		t.Args = append(t.Args, "-test.benchtime="+n)
	}
	err = rig.RunTests(ctx, t)
	verdict := "ok"
	if err != nil {
		verdict = "FAIL"
	}
	fmt.Println(verdict, t.Package)
	return err
}
