package top

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// one is the details of a vNode.
func (m *Model) one(r *row) []string {
	var lines []string
	add := func(what, format string, a ...any) {
		lines = append(lines, heading.Render(cell(what, 12, false))+" "+fmt.Sprintf(format, a...))
	}
	lines = append(lines, "")
	add("vNode", "%s, vID %d, %s, address %s", r.Spec.GetName(), r.Id, State(r.VNode.VNode), r.Vip)
	if r.Processor != 0 {
		add("processor", "%s, process %d: %s", r.on, r.Pid, r.ProcessorWhy)
	}
	add("size", "%s of memory in %d vRegions, %d vCPUs", size(float64(r.Spec.GetMemoryBytes())), len(r.VRegions), r.Spec.GetVcpus())
	if r.Reason != "" {
		add("reason", "%s", r.Reason)
	}
	if r.Err != nil {
		add("no counters", "%s", oneLine(r.Err))
	}
	if r.Counters != nil {
		m.counters(r, add)
	}
	m.owners(r, add)
	return lines
}

// counters are what a running vNode told.
func (m *Model) counters(r *row, add func(what, format string, a ...any)) {
	c, rates := r.Counters, r.rates
	if rates == nil {
		rates = &Rates{}
	}
	add("cpu", "%.1f %%, %v since the start", 100*rates.CPU, c.CPU.Round(10*time.Millisecond))
	if e := c.ExCache; e != nil {
		add("excache", "%s of %s, %s dirty", size(float64(e.Used)), size(float64(e.Limit)), size(float64(e.Dirty)))
		add("faults", "%s/s, of which %s/s misses, %v at p50 and %v at p99 since the pager's start", count(rates.Faults), count(rates.Misses), e.P50, e.P99)
		add("remote", "%s held; %s/s fetched, %s/s written back", size(float64(r.Held)), size(rates.Memory.In), size(rates.Memory.Out))
		add("pagers", "%d replaced", e.Pagers)
	} else {
		add("excache", "none: the memory is local")
	}
	if d := c.Disk; d != nil {
		add("disks", "%s/s read, %s/s written; %s and %s since the start", size(rates.Disk.In), size(rates.Disk.Out), size(float64(d.In)), size(float64(d.Out)))
	}
	if n := c.Net; n != nil {
		add("network", "%s/s in, %s/s out; %s and %s since the start", size(rates.Net.In), size(rates.Net.Out), size(float64(n.In)), size(float64(n.Out)))
	}
}

// owners are the memory monitors of a vNode, with how many vRegions of it and how much
// they have.
func (m *Model) owners(r *row, add func(what, format string, a ...any)) {
	type share struct {
		vregions, moving int
		bytes            uint64
	}
	has := map[uint64]share{}
	for _, x := range r.VRegions {
		for _, o := range x.Owners {
			s := has[o]
			s.vregions++
			s.bytes += x.HeldBytes
			if x.Target != 0 {
				s.moving++
			}
			has[o] = s
		}
	}
	for _, o := range slices.Sorted(maps.Keys(has)) {
		name := fmt.Sprintf("monitor %d", o)
		for _, x := range m.now.Monitors {
			if x.Id == o {
				name = x.Name
			}
		}
		s := has[o]
		moving := ""
		if s.moving > 0 {
			moving = fmt.Sprintf(", %d of them to move away", s.moving)
		}
		add("memory at", "%s: %s in %d vRegions%s", name, size(float64(s.bytes)), s.vregions, moving)
	}
}
