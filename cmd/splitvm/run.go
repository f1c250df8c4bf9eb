package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"splitvm/ept"
	"splitvm/ept/policy"
	"splitvm/ept/prefetch"
	"splitvm/guest/cpuid"
	"splitvm/guest/layout"
	"splitvm/remote/transport"
	"splitvm/vmm"
)

const runDescription = `Boots a Linux kernel as a virtual machine. With a command, a small init loads
the drivers that the guest needs, mounts the first disk as root, runs the
command and powers off; splitvm exits with the command's status. Without one,
the disk's own init system starts.

With standard input and output at a terminal the guest's console is yours, raw:
Ctrl-C goes to the guest, and Ctrl-A x ends it. Elsewhere the command's standard
streams are splitvm's own, and SIGINT, SIGTERM, SIGHUP and SIGQUIT go to the
command; a second one ends the guest.

Exit status: the command's own; 128+N if signal N killed it; 125 if the guest
could not be started or died; 126 and 127 as in a shell.

Examples:
   # a command on a disk image, with Debian's kernel
   splitvm run --local --kernel /boot/vmlinuz-6.12-cloud-amd64 \
       --modules /lib/modules/6.12-cloud-amd64 --disk root.ext4 --mem 2G --cpus 2 -- uname -a

   # an image's own command, and another one in it
   splitvm run debian:bookworm-slim
   splitvm run --user nobody --env LANG=C --read-only debian:bookworm-slim -- ls -l /

   # a shell, nothing but the initramfs
   splitvm run --local --kernel vmlinuz --modules /lib/modules/VERSION -- /bin/sh

   # the disk's own init, network through tap0, direct I/O
   splitvm run --local --kernel vmlinuz --initrd initrd.img --disk disk.img,cache=none \
       --net tap0 --cmdline 'root=/dev/vda1 console=hvc0'

   # memory at two memory monitors, 128 MiB of it cached here
   splitvm run --memory-monitor 10.0.0.7:7070,10.0.0.8:7070 --excache 128M --mem 1G \
       --kernel vmlinuz --modules DIR --disk root.ext4 -- /bin/work

   # a network without privileges; port 8080 of this host is the guest's port 80
   splitvm run --local --kernel vmlinuz --modules DIR --disk root.ext4 --net user -p 8080:80 -- httpd -f

   # a second, read-only data disk that the guest finds by its serial
   splitvm run --local --kernel vmlinuz --modules DIR --disk root.ext4 --disk data.img,ro,serial=data -- ls /dev/disk/by-id`

func runCommand() *cli.Command {
	return &cli.Command{
		Name:        "run",
		Usage:       "run a virtual machine",
		ArgsUsage:   "[IMAGE] [-- COMMAND [ARG...]]",
		Description: runDescription,
		Flags:       runFlags(),
		Action: func(ctx context.Context, c *cli.Command) error {
			o, err := optionsOf(c)
			if err != nil {
				return &exitError{exitUsage, fmt.Errorf("run: %w (see `splitvm run --help`)", err)}
			}
			if o.onRack {
				return runOnRack(ctx, c, o)
			}
			status, err := runHere(ctx, o)
			if err != nil {
				return &exitError{exitRefused, fmt.Errorf("run: %w", err)}
			}
			if status != 0 {
				return &exitError{code: status}
			}
			return nil
		},
	}
}

func runFlags() []cli.Flag {
	size := func(name, value, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Value: value, Usage: usage, Validator: sizeFlag}
	}
	return append([]cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the vNode; made up if not given"},
		&cli.BoolFlag{Name: "local", Usage: "memory and disks on this host, without a rack"},
		&cli.StringSliceFlag{Name: "memory-monitor", Usage: "the guest's memory is at the memory monitor at `ADDRESS`: HOST:PORT or unix:PATH; commas separate several"},
		size("excache", "512M", "cache of remote memory on this host, as `SIZE`"),
		&cli.StringFlag{Name: "evict-policy", Value: policy.Default, Usage: "`POLICY` by which lines leave the ExCache: " + strings.Join(policy.Names(), ", ")},
		&cli.StringFlag{Name: "prefetch", Value: prefetch.Default, Usage: "`PREFETCHER` that brings lines ahead: " + strings.Join(prefetch.Names(), ", ")},
		&cli.BoolFlag{Name: "checksums", Usage: "protect lines on the wire with checksums"},
		&cli.DurationFlag{Name: "memory-deadline", Value: ept.DefaultDeadline, Usage: "end the guest when a line of its remote memory can't be served within `DURATION`"},
		&cli.StringFlag{Name: "kernel", Aliases: []string{"k"}, Usage: "`KERNEL`: a file, bzImage (vmlinuz) or ELF vmlinux, or the name of one in the image store (default: the store's default)"},
		&cli.StringFlag{Name: "modules", Usage: "`DIR` of the kernel's modules (/lib/modules/VERSION), for the init that runs COMMAND"},
		&cli.StringFlag{Name: "initrd", Aliases: []string{"i"}, Usage: "initial RAM disk `FILE` instead of splitvm's own"},
		&cli.StringSliceFlag{Name: "disk", Aliases: []string{"d"}, Usage: "raw image or block device, `DISK`: FILE[,ro][,cache=writeback|none][,serial=NAME][,mount=DIR]; the first is the root, unless an image is"},
		&cli.StringSliceFlag{Name: "net", Usage: "network, `NET`: TAP[,mac=ADDR][,ip=ADDR/LEN][,gw=ADDR], made if it is not there; or user[,ip=ADDR/LEN][,host-loopback] or user,network=NAME[,addr=ADDR][,socket=PATH], which need no privileges; on a rack, user,network=NAME, and NAME default if that is not given"},
		&cli.StringSliceFlag{Name: "publish", Aliases: []string{"p"}, Usage: "lead a port of this host to one of the guest's on a user network, `[ADDR:]HOST:GUEST[/udp]`; may be repeated"},
		storageMonitorFlag(),
		&cli.StringSliceFlag{Name: "volume", Usage: "disk at the storage monitors, or a volume of the rack, `VOLUME`: NAME[:/DIR][,ro][,cache=SIZE][,steal][,serial=NAME][,at=ADDRESS...]; mounted on DIR, if that is given; comes after the disks; SIZE of it is kept in memory here, writes too until the guest flushes them or 30 s; may be repeated"},
		&cli.StringFlag{Name: "vsock", Usage: "unix socket `PATH` through which the host reaches the guest's vsock ports"},
		size("mem", "1G", "guest memory, as `SIZE`"),
		&cli.IntFlag{Name: "cpus", Value: 1, Usage: fmt.Sprintf("`NUMBER` of virtual CPUs, 1 to %d", vmm.MaxVCPUs)},
		&cli.StringFlag{Name: "cpu", Value: "host", Usage: "CPU `MODEL`: host, baseline (moves between hosts) or emulated (for KVMs that emulate ring 0)"},
		&cli.StringFlag{Name: "cmdline", Usage: "`WORDS` appended to the kernel's command line"},
		&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "`NAME=VALUE` for the command"},
		&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "`DIR` in the guest in which the command runs"},
		&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "`USER[:GROUP]` in the guest as which the command runs"},
		&cli.BoolFlag{Name: "overlay", Usage: "let the guest write to a root that is read-only, into memory"},
		&cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics at http://`HOST:PORT`/metrics"},
		&cli.StringFlag{Name: "serial", Usage: "append the output of the serial port, where the kernel's messages go, to `FILE`"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show the kernel's messages and what splitvm does"},
		&cli.BoolFlag{Name: "console", Usage: "give the guest a terminal for splitvm console to attach to, and none of this one's input"},
		&cli.BoolFlag{Name: "packed", Usage: "offer packed virtqueues"},
		&cli.BoolFlag{Name: "exit-with-parent", Usage: "end the guest when the process that started splitvm dies"},
	}, append(imageRunFlags(), rackRunFlags()...)...)
}

// options is what `run` was asked for.
type options struct {
	name                    string
	onRack                  bool // --global
	rack                    rackOptions
	image                   imageOptions
	remote                  remoteOptions
	kernel, modules, initrd string
	disks                   []diskOption
	volumes                 []volumeOption
	storage                 []string // addresses of storage monitors
	nets                    []netOption
	published               []publishOption
	vsock                   string
	memory                  uint64
	vcpus                   int
	cpu, cmdline            string
	command                 []string
	env                     []string
	workdir, user           string
	overlay, verbose        bool
	packed, withParent      bool
	console                 bool // for `splitvm console`, not this process's terminal
	serial, metrics         string
}

func optionsOf(c *cli.Command) (options, error) {
	image, command, err := splitImage(c.Args().Slice(), argumentsOf(c))
	if err != nil {
		return options{}, err
	}
	o := options{
		image:  imageOptionsOf(c, image),
		kernel: c.String("kernel"), modules: c.String("modules"), initrd: c.String("initrd"), vsock: c.String("vsock"),
		vcpus: c.Int("cpus"), cpu: c.String("cpu"), cmdline: c.String("cmdline"), command: command,
		env: c.StringSlice("env"), workdir: c.String("workdir"), user: c.String("user"), overlay: c.Bool("overlay"),
		verbose: c.Bool("verbose"), packed: c.Bool("packed"), withParent: c.Bool("exit-with-parent"), console: c.Bool("console"), serial: c.String("serial"), metrics: c.String("metrics"),
	}
	if o.rack, err = rackOptionsOf(c); err != nil {
		return o, err
	}
	o.onRack = len(c.StringSlice("global")) > 0 && o.rack.placer == "" && !c.Bool("local") && len(c.StringSlice("memory-monitor")) == 0
	o.remote = remoteOptions{rack: o.rack, policy: c.String("evict-policy"), prefetch: c.String("prefetch"), checksums: c.Bool("checksums"), deadline: c.Duration("memory-deadline")}
	for _, s := range c.StringSlice("memory-monitor") {
		o.remote.monitors = slices.AppendSeq(o.remote.monitors, fields(s))
	}
	if o.name = c.String("name"); o.name == "" {
		o.name = fmt.Sprintf("vnode-%d", os.Getpid())
	}
	if err := o.parse(c); err != nil {
		return o, err
	}
	if err := o.check(c.Bool("local") || image != "" && !o.remote.far() && !o.onRack); err != nil || o.rack.bare != "" {
		return o, err
	}
	return o, o.findKernel()
}

// parse reads the flags that have a form of their own.
func (o *options) parse(c *cli.Command) (err error) {
	if s := c.String("root-size"); s != "" {
		if o.image.rootSize, err = parseSize(s); err != nil {
			return err
		}
	}
	for name, size := range map[string]*uint64{"excache": &o.remote.excache, "mem": &o.memory} {
		if *size, err = parseSize(c.String(name)); err != nil {
			return err
		}
	}
	for _, s := range c.StringSlice("storage-monitor") {
		o.storage = slices.AppendSeq(o.storage, fields(s))
	}
	if o.disks, err = parseEach(c, "disk", parseDisk); err != nil {
		return err
	}
	if o.volumes, err = parseEach(c, "volume", parseVolume); err != nil {
		return err
	}
	if o.nets, err = parseEach(c, "net", parseNet); err != nil {
		return err
	}
	o.published, err = parseEach(c, "publish", parsePublish)
	return err
}

// parseEach parses each value of a flag that may be repeated.
func parseEach[T any](c *cli.Command, flag string, parse func(string) (T, error)) ([]T, error) {
	var all []T
	for _, s := range c.StringSlice(flag) {
		v, err := parse(s)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func (o *options) check(local bool) error {
	switch {
	case !nameOK(o.name):
		return fmt.Errorf("name %q: use up to 63 letters, digits, '-', '_' and '.', beginning with a letter or digit", o.name)
	case !o.onRack && local == o.remote.far():
		return errors.New("give one of --local, --memory-monitor HOST:PORT and --global HOST:PORT")
	case o.rack.bare != "" && o.kernel != "":
		return errors.New("give --kernel or --bare, not both")
	case o.vcpus < 1 || o.vcpus > vmm.MaxVCPUs:
		return fmt.Errorf("%d virtual CPUs: give 1 to %d", o.vcpus, vmm.MaxVCPUs)
	case o.modules != "" && o.initrd != "":
		return errors.New("give --modules (for splitvm's own initrd) or --initrd, not both")
	case o.image.name == "" && (o.image.entrypoint != nil || o.image.readOnly):
		return errors.New("--entrypoint and --read-only are for an image: give one, or --disk FILE,ro")
	case o.image.name == "" && len(o.command) == 0 && len(o.env)+len(o.workdir)+len(o.user) > 0:
		return errors.New("--env, --workdir and --user are for a command: give one after --")
	}
	if err := o.checkNets(); err != nil {
		return err
	}
	return o.checkParts()
}

// checkParts checks what has a package that knows.
func (o *options) checkParts() error {
	if _, err := layout.New(o.memory); err != nil {
		return fmt.Errorf("--mem: %w", err)
	}
	if _, err := cpuid.ParseTemplate(o.cpu); err != nil {
		return fmt.Errorf("--cpu: %w", err)
	}
	for _, m := range o.remote.monitors {
		if _, _, err := transport.ParseAddress(m); err != nil {
			return fmt.Errorf("--memory-monitor: %w", err)
		}
	}
	if err := o.checkVolumes(); err != nil {
		return err
	}
	if o.remote.deadline < minDeadline {
		return fmt.Errorf("--memory-deadline %v: give at least %v", o.remote.deadline, minDeadline)
	}
	for i, d := range o.disks {
		if slices.ContainsFunc(o.disks[:i], func(e diskOption) bool { return filepath.Clean(e.path) == filepath.Clean(d.path) }) {
			return fmt.Errorf("disk %s is given twice", d.path)
		}
	}
	for _, e := range o.env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return fmt.Errorf("--env %q: give NAME=VALUE", e)
		}
	}
	return nil
}

// nameOK keeps names fit for file names, host names and log lines.
var nameOK = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`).MatchString
