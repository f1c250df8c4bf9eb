package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"splitvm/remote/api"
)

// specFlags are those that describe a vNode of a rack.
func specFlags() []cli.Flag {
	size := func(name, value, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Value: value, Usage: usage, Validator: sizeFlag}
	}
	return []cli.Flag{
		globalFlag(),
		&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "take the specification from `FILE`, YAML or JSON; flags that are given win"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the vNode; made up if not given"},
		size("mem", "1G", "guest memory, as `SIZE`"),
		&cli.IntFlag{Name: "cpus", Value: 1, Usage: "`NUMBER` of virtual CPUs"},
		&cli.StringFlag{Name: "excache", Validator: sizeFlag, Usage: "cache of remote memory, at most `SIZE`; the memory's size by default"},
		&cli.StringFlag{Name: "excache-floor", Validator: sizeFlag, Usage: "and at least `SIZE`"},
		&cli.IntFlag{Name: "excache-weight", Usage: "`WEIGHT` by which the host's ExCache is divided (default: 100)"},
		&cli.StringFlag{Name: "vregion", Validator: sizeFlag, Usage: "`SIZE` of the pieces of memory that have owners of their own (default: 1G)"},
		&cli.StringFlag{Name: "network", Usage: "named `NETWORK` that the vNode is on"},
		&cli.StringSliceFlag{Name: "publish", Aliases: []string{"p"}, Usage: "lead a port of the processor's host to one of the vNode's, `[ADDR:]HOST:GUEST[/udp]`; may be repeated"},
		&cli.StringFlag{Name: "image", Usage: "`IMAGE` in the store of the processor's host"},
		&cli.StringFlag{Name: "kernel", Aliases: []string{"k"}, Usage: "`KERNEL` on the processor's host"},
		&cli.StringFlag{Name: "modules", Usage: "`DIR` of the kernel's modules"},
		&cli.StringFlag{Name: "initrd", Aliases: []string{"i"}, Usage: "initial RAM disk `FILE`"},
		&cli.StringSliceFlag{Name: "disk", Aliases: []string{"d"}, Usage: "raw image or block device, as in `splitvm run`: `DISK`"},
		&cli.StringSliceFlag{Name: "volume", Usage: "`VOLUME` of the rack: NAME[:/DIR][,ro][,serial=NAME]; mounted on DIR, if that is given; may be repeated"},
		&cli.StringFlag{Name: "cmdline", Usage: "`WORDS` appended to the kernel's command line"},
		&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "`NAME=VALUE` for the command"},
		&cli.StringFlag{Name: "bare", Usage: "bare `PROGRAM` instead of a kernel"},
		&cli.StringSliceFlag{Name: "run-flag", Usage: "further `FLAG` of `splitvm run`, as in --run-flag=--overlay; may be repeated"},
	}
}

// specOf reads a specification from a file, if one is given, and from flags.
func specOf(c *cli.Command) (*api.VNodeSpec, error) {
	s := &api.VNodeSpec{}
	if c.String("file") != "" {
		if err := readSpec(c.String("file"), s); err != nil {
			return nil, err
		}
	}
	if s.Excache == nil {
		s.Excache = &api.ExCacheShare{}
	}
	for _, f := range []struct {
		flag string
		to   *uint64
	}{{"mem", &s.MemoryBytes}, {"excache", &s.Excache.LimitBytes}, {"excache-floor", &s.Excache.FloorBytes}, {"vregion", &s.VregionBytes}} {
		if text := c.String(f.flag); text != "" && (c.IsSet(f.flag) || *f.to == 0) {
			n, err := parseSize(text)
			if err != nil {
				return nil, err
			}
			*f.to = n
		}
	}
	for _, f := range []struct {
		flag string
		to   *string
		file bool
	}{{"name", &s.Name, false}, {"network", &s.Network, false}, {"image", &s.Image, false}, {"kernel", &s.Kernel, true}, {"modules", &s.Modules, true},
		{"initrd", &s.Initrd, true}, {"cmdline", &s.Cmdline, false}, {"bare", &s.Bare, false}} {
		if c.IsSet(f.flag) {
			*f.to = c.String(f.flag)
			if f.file {
				*f.to = absolute(*f.to)
			}
		}
	}
	specLists(c, s)
	o := options{onRack: true, command: s.Command, image: imageOptions{name: s.Image}}
	var err error
	if o.volumes, err = parseEach(c, "volume", parseVolume); err != nil {
		return nil, err
	}
	s.Volumes = append(s.Volumes, o.volumeMounts()...)
	if _, err := parseEach(c, "publish", parsePublish); err != nil {
		return nil, err
	}
	s.Publish = append(s.Publish, c.StringSlice("publish")...)
	return s, o.checkVolumes()
}

// specLists reads the flags that are numbers or lists.
func specLists(c *cli.Command, s *api.VNodeSpec) {
	if c.IsSet("cpus") || s.Vcpus == 0 {
		s.Vcpus = uint32(max(0, c.Int("cpus")))
	}
	if c.IsSet("excache-weight") {
		s.Excache.Weight = uint32(max(0, c.Int("excache-weight")))
	}
	for _, d := range c.StringSlice("disk") {
		s.Disks = append(s.Disks, absolute(d))
	}
	s.Env = append(s.Env, c.StringSlice("env")...)
	s.RunFlags = append(s.RunFlags, c.StringSlice("run-flag")...)
	if c.Args().Present() {
		s.Command = c.Args().Slice()
	}
}

// absolute makes a file's name one that another process understands; a name that
// is no file here is left alone.
func absolute(path string) string {
	if _, err := os.Stat(path); err != nil && filepath.Base(path) == path || path == "" {
		return path
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return abs
}

// readSpec reads YAML or JSON, of which YAML is a superset.
func readSpec(path string, s *api.VNodeSpec) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("specification: %w", err)
	}
	var any map[string]any
	if err := yaml.Unmarshal(raw, &any); err != nil {
		return fmt.Errorf("specification %s: %w", path, err)
	}
	text, err := json.Marshal(any)
	if err == nil {
		err = protojson.Unmarshal(text, s)
	}
	if err != nil {
		return fmt.Errorf("specification %s: %w", path, err)
	}
	return nil
}
