package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/urfave/cli/v3"

	"splitvm/monitors/processor"
)

const monitorProcessorDescription = `Runs vNodes of the rack on this host, until SIGINT or SIGTERM: it starts their
VMMs, watches them, and divides the host's ExCache among them. vNodes go on when
it ends, and it finds them again when it starts with the same --data.

Example:
   splitvm monitor processor --global 10.0.0.1:7400 --listen 10.0.0.5:7410 \
       --data /var/lib/splitvm/processor --excache 8G`

func monitorProcessorCommand() *cli.Command {
	return &cli.Command{
		Name:        "processor",
		Usage:       "run vNodes of the rack on this host",
		Description: monitorProcessorDescription,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "listen", Aliases: []string{"l"}, Required: true, Usage: "serve gRPC at `HOST:PORT`"},
			&cli.StringFlag{Name: "data", Required: true, Usage: "`DIR` of the vNodes' logs and sockets; made if it is not there"},
			&cli.StringFlag{Name: "excache", Required: true, Validator: sizeFlag, Usage: "cache of remote memory for all vNodes together, as `SIZE`"},
			&cli.IntFlag{Name: "vcpus", Value: runtime.NumCPU(), Usage: "`NUMBER` of this host's CPUs for vNodes"},
			&cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics at http://`HOST:PORT`/metrics"},
			&cli.StringFlag{Name: "network-metrics", Usage: "serve those of the vNodes' networks, which are a process of their own, at http://`HOST:PORT`/metrics"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log each division of the ExCache"},
		}, memberFlags()...),
		Action: runMonitorProcessor,
	}
}

func runMonitorProcessor(ctx context.Context, c *cli.Command) error {
	excache, err := parseSize(c.String("excache"))
	if err == nil && c.Int("vcpus") < 1 {
		err = fmt.Errorf("--vcpus %d: give at least 1", c.Int("vcpus"))
	}
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("monitor processor: %w", err)}
	}
	dir, err := filepath.Abs(c.String("data"))
	if err != nil {
		return err
	}
	return processor.Run(ctx, processor.Config{
		Global: globals(c), Listen: c.String("listen"), Dir: dir, Name: memberName(c), Domain: c.String("domain"),
		VCPUs: uint64(c.Int("vcpus")), ExCache: excache, Command: vmmCommand, Network: networkCommand(c, dir), Metrics: c.String("metrics"), Log: monitorLog(c.Bool("verbose")),
	})
}

// networkCommand makes `splitvm monitor network` for the vNodes of a processor
// monitor.
func networkCommand(c *cli.Command, dir string) func(socket string) *exec.Cmd {
	return func(socket string) *exec.Cmd {
		args := []string{"monitor", "network", "--socket", socket, "--processor", dir, "--mesh", meshAddress(c.String("listen"))}
		if m := c.String("network-metrics"); m != "" {
			args = append(args, "--metrics", m)
		}
		for _, g := range globals(c) {
			args = append(args, "--global", g)
		}
		return exec.Command("/proc/self/exe", args...)
	}
}

// meshAddress is where the networks of a processor monitor take frames: at its own
// host, at any port.
func meshAddress(listen string) string {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return listen // the monitor itself says what is wrong with it
	}
	return net.JoinHostPort(host, "0")
}

// vmmCommand is `splitvm run` for a vNode of the rack.
func vmmCommand(l processor.Launch) *exec.Cmd {
	s, v := l.VNode.Spec, l.VNode
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	args := []string{"run", "--name", s.Name, "--placer", l.Placer, "--vnode", number(v.Id), "--run", number(v.Run),
		"--status-file", l.Status, "--excache", number(l.ExCache), "--mem", number(s.MemoryBytes), "--cpus", number(uint64(s.Vcpus)),
		"--vregion", number(s.VregionBytes)}
	for _, f := range []struct{ flag, value string }{
		{"--kernel", s.Kernel}, {"--modules", s.Modules}, {"--initrd", s.Initrd}, {"--cmdline", s.Cmdline}, {"--bare", s.Bare},
	} {
		if f.value != "" {
			args = append(args, f.flag, f.value)
		}
	}
	for _, d := range s.Disks {
		args = append(args, "--disk", d)
	}
	for i, m := range s.Volumes {
		args = append(args, "--volume", volumeArg(m, l.Volumes[i]))
	}
	for _, e := range s.Env {
		args = append(args, "--env", e)
	}
	if l.Network != "" && s.Bare == "" {
		args = append(args, "--net", fmt.Sprintf("user,network=%s,addr=%s,socket=%s", s.Network, v.Vip, l.Network))
	}
	for _, p := range s.Publish {
		args = append(args, "--publish", p)
	}
	args = append(args, s.RunFlags...)
	if s.Image != "" {
		args = append(args, s.Image)
	}
	if len(s.Command) > 0 {
		args = append(append(args, "--"), s.Command...)
	}
	return exec.Command("/proc/self/exe", args...)
}
