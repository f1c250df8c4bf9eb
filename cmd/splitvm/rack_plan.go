package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/urfave/cli/v3"

	"splitvm/remote/transport"
)

// rackPlan is what a rack on this host is made of: the file of `rack up -f`.
type rackPlan struct {
	Globals     int    `yaml:"globals"`
	Processors  int    `yaml:"processors"`
	Memories    int    `yaml:"memories"`
	Storages    int    `yaml:"storages"`
	Memory      string `yaml:"memory"`  // of each memory monitor
	ExCache     string `yaml:"excache"` // of each processor monitor
	Policy      string `yaml:"policy"`
	Lease       string `yaml:"lease"`
	RepairAfter string `yaml:"repair-after"`
}

func defaultPlan() rackPlan {
	return rackPlan{Globals: 1, Processors: 1, Memories: 2, Storages: 1, Memory: "2G", ExCache: "512M", Policy: "least-load", Lease: "10s", RepairAfter: "10m"}
}

func planFlags() []cli.Flag {
	d := defaultPlan()
	return []cli.Flag{
		&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "take the plan from a YAML `FILE` with the fields globals, processors, memories, storages, memory, excache, policy, lease and repair-after"},
		&cli.IntFlag{Name: "globals", Value: d.Globals, Usage: "`NUMBER` of global monitors, 1 or 3"},
		&cli.IntFlag{Name: "processors", Value: d.Processors, Usage: "`NUMBER` of processor monitors"},
		&cli.IntFlag{Name: "memories", Value: d.Memories, Usage: "`NUMBER` of memory monitors"},
		&cli.IntFlag{Name: "storages", Value: d.Storages, Usage: "`NUMBER` of storage monitors"},
		&cli.StringFlag{Name: "memory", Value: d.Memory, Validator: sizeFlag, Usage: "`SIZE` of each memory monitor"},
		&cli.StringFlag{Name: "excache", Value: d.ExCache, Validator: sizeFlag, Usage: "ExCache of each processor monitor, as `SIZE`"},
		&cli.StringFlag{Name: "policy", Value: d.Policy, Usage: "placement `POLICY`"},
		&cli.StringFlag{Name: "lease", Value: d.Lease, Usage: "a monitor whose heartbeats stop for `DURATION` is lost"},
		&cli.StringFlag{Name: "repair-after", Value: d.RepairAfter, Usage: "make the replicas of a storage monitor that is away for `DURATION` again elsewhere; 0: never by itself"},
	}
}

// planOf reads the file, if one is given; flags that are given win.
func planOf(c *cli.Command) (rackPlan, error) {
	p := defaultPlan()
	if f := c.String("file"); f != "" {
		raw, err := os.ReadFile(f)
		if err != nil {
			return p, err
		}
		if err := yaml.UnmarshalWithOptions(raw, &p, yaml.Strict()); err != nil {
			return p, fmt.Errorf("%s: %w", f, err)
		}
	}
	for name, to := range map[string]*int{"globals": &p.Globals, "processors": &p.Processors, "memories": &p.Memories, "storages": &p.Storages} {
		if c.IsSet(name) {
			*to = c.Int(name)
		}
	}
	for name, to := range map[string]*string{"memory": &p.Memory, "excache": &p.ExCache, "policy": &p.Policy, "lease": &p.Lease, "repair-after": &p.RepairAfter} {
		if c.IsSet(name) {
			*to = c.String(name)
		}
	}
	if p.Globals != 1 && p.Globals != 3 || min(p.Processors, p.Memories, p.Storages) < 0 || p.Processors+p.Memories+p.Storages > 1000 {
		return p, fmt.Errorf("a rack has 1 or 3 global monitors and up to 1000 others")
	}
	return p, nil
}

// processes lists the monitors of the plan with their arguments, and the global
// monitors' addresses.
func (p rackPlan) processes(dir string) ([]rackProcess, string, error) {
	ports, err := transport.FreeAddresses(2*p.Globals + p.Storages)
	if err != nil {
		return nil, "", err
	}
	var list []rackProcess
	var globals, peers []string
	for i := range p.Globals {
		globals = append(globals, ports[i])
		peers = append(peers, fmt.Sprintf("global-%d=http://%s", i+1, ports[p.Globals+i]))
	}
	add := func(role string, i int, args ...string) {
		name := fmt.Sprintf("%s-%d", role, i+1)
		args = append([]string{"monitor", role, "--name", name}, args...)
		list = append(list, rackProcess{Name: name, Role: role, Args: args, Log: fmt.Sprintf("%s/logs/%s.log", dir, name)})
	}
	for i := range p.Globals {
		args := []string{"--listen", globals[i], "--data", fmt.Sprintf("%s/global-%d", dir, i+1), "--policy", p.Policy, "--lease", p.Lease, "--repair-after", p.RepairAfter}
		if p.Globals > 1 {
			args = append(args, "--peers", strings.Join(peers, ","))
		}
		add("global", i, args...)
	}
	all := strings.Join(globals, ",")
	member := func(role string, i int, args ...string) {
		add(role, i, append([]string{"--global", all, "--domain", fmt.Sprintf("%s-%d", role, i+1)}, args...)...)
	}
	for i := range p.Memories {
		member("memory", i, "--listen", "127.0.0.1:0", "--mem", p.Memory)
	}
	for i := range p.Storages { // at an address to which those who use a volume come back
		member("storage", i, "--listen", ports[2*p.Globals+i], "--data", fmt.Sprintf("%s/storage-%d", dir, i+1))
	}
	for i := range p.Processors {
		member("processor", i, "--listen", "127.0.0.1:0", "--data", fmt.Sprintf("%s/p%d", dir, i+1), "--excache", p.ExCache)
	}
	return list, all, nil
}
