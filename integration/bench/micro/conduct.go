//go:build amd64

package micro

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what to measure.
type Options struct {
	Backends   []string
	Patterns   []Pattern
	Writes     []float64 // shares
	VCPUs      []int
	Caches     []int // percent of the working set
	WorkingSet uint64
	Accesses   uint64
	Rounds     int
	Seed       uint64
	Timeout    time.Duration // of one guest

	Parts Parts
	// Progress is told of each cell before it runs; may be nil.
	Progress func(done, all int, c Cell)
}

// Check tells what is wrong with the options, for a user to read.
func (o *Options) Check() error {
	for _, b := range o.Backends {
		if _, err := backend(b, o.Parts); err != nil {
			return err
		}
	}
	for _, p := range o.Patterns {
		if !slices.Contains(Patterns(), p) {
			return fmt.Errorf("unknown pattern %q", p)
		}
	}
	most := uint64(0)
	for _, n := range o.VCPUs {
		most = max(most, uint64(n))
	}
	switch {
	case len(o.Backends) == 0 || len(o.Patterns) == 0 || len(o.Writes) == 0 || len(o.VCPUs) == 0 || len(o.Caches) == 0:
		return errors.New("nothing to measure: give at least one backend, pattern, share of writes, number of vCPUs and cache size")
	case o.Rounds < 1 || o.Accesses < 1:
		return errors.New("give at least one round and one access")
	case o.WorkingSet < minWorkingSet*most || o.WorkingSet > maxWorkingSet:
		return fmt.Errorf("working set of %d MiB: give at least %d MiB for each vCPU, at most %d GiB", o.WorkingSet>>20, minWorkingSet>>20, maxWorkingSet>>30)
	}
	return nil
}

// Bounds of the working set: below, a cache of 10 % would hold little more than
// the program.
const (
	minWorkingSet = 8 << 20
	maxWorkingSet = 1 << 40
)

// Run measures all cells, round by round. Cells whose guest fails are an error.
func Run(ctx context.Context, o Options) (r *Report, err error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("bench micro: %w", err)
	}
	hosts, notes, restore, err := prepare(ctx, o.Backends, o.WorkingSet)
	if err != nil {
		return nil, fmt.Errorf("bench micro: %w", err)
	}
	defer func() { err = errors.Join(err, restore()) }()
	scenes := o.scenes()
	all := 0
	for _, s := range scenes {
		all += len(s) * o.Rounds
	}
	c := &collector{rounds: map[Cell][]Measurement{}}
	done := 0
	for round := range o.Rounds {
		for _, cells := range scenes {
			for i := range cells {
				cell := cells[(i+round)%len(cells)]
				if o.Progress != nil {
					o.Progress(done, all, cell)
				}
				m, err := c.run(ctx, &o, hosts[cell.Backend], cell)
				if err != nil {
					return nil, fmt.Errorf("bench micro: %v: %w", cell, err)
				}
				c.add(cell, *m)
				done++
			}
		}
	}
	if c.killed > 0 {
		notes = append(notes, fmt.Sprintf("swap: the kernel killed %d guests for lack of memory while it had swap left; they were run again", c.killed))
	}
	return c.report(&o, notes), nil
}

// attempts is how often a guest is run that the kernel kills.
const attempts = 5

// run runs a cell, again if the kernel kills it: see swapHost.freshen, and it
// takes no more than a small cache for it to be too late.
func (c *collector) run(ctx context.Context, o *Options, h host, cell Cell) (*Measurement, error) {
	for i := 1; ; i++ {
		m, err := runCell(ctx, o, h, cell)
		if !errors.Is(err, errKilled) || i == attempts {
			return m, err
		}
		c.killed++
	}
}

// scenes are the cells that differ in their backend alone, for each pattern,
// share of writes, number of vCPUs and size of the cache.
func (o *Options) scenes() [][]Cell {
	var scenes [][]Cell
	for _, pattern := range o.Patterns {
		writes := o.Writes
		if pattern == First {
			writes = []float64{1} // reading what was never written is no load
		}
		for _, w := range writes {
			for _, n := range o.VCPUs {
				for _, cache := range o.Caches {
					var cells []Cell
					for _, b := range o.Backends {
						cells = append(cells, Cell{
							Backend: b, Pattern: pattern, Writes: w, VCPUs: n, Cache: cache,
							WorkingSet: o.WorkingSet, Accesses: o.Accesses, Seed: o.Seed,
						})
					}
					scenes = append(scenes, cells)
				}
			}
		}
	}
	return scenes
}

// runCell runs one guest in a part of its own.
func runCell(ctx context.Context, o *Options, h host, c Cell) (m *Measurement, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	cmd := o.Parts(ctx, roleGuest)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) } // see guest.attended
	cmd.WaitDelay = 10 * time.Second
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.release()) }()
	m, err = dialogue(h, cmd.Process.Pid, c, stdin, bufio.NewReader(stdout))
	if err != nil {
		cmd.Process.Kill()
	}
	stdin.Close()
	if werr := cmd.Wait(); werr != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = errors.Join(err, fmt.Errorf("it took longer than %v", o.Timeout))
		}
		err = errors.Join(err, fmt.Errorf("guest's process: %w: %s", werr, strings.TrimSpace(complaint.String())))
	}
	return m, err
}

// dialogue is the conductor's side of the steps.
func dialogue(h host, pid int, c Cell, to io.Writer, from *bufio.Reader) (*Measurement, error) {
	if err := h.confine(pid); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(to).Encode(c); err != nil {
		return nil, err
	}
	for _, step := range []struct {
		word string
		do   func() error
	}{{ready, h.ready}, {filled, func() error { return h.limit(&c) }}} {
		if line, err := from.ReadString('\n'); err != nil || strings.TrimSpace(line) != step.word {
			return nil, fmt.Errorf("the guest is not %s, it said %q: %w", step.word, line, err)
		}
		if err := step.do(); err != nil {
			return nil, err
		}
		if _, err := fmt.Fprintln(to, "go"); err != nil {
			return nil, err
		}
	}
	m := &Measurement{}
	if err := json.NewDecoder(from).Decode(m); err != nil {
		return nil, fmt.Errorf("the guest did not come to its end: %w", err)
	}
	return m, h.after(m)
}

// sysctls tells settings of the kernel.
func sysctls(names ...string) string {
	var found []string
	for _, n := range names {
		if b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(n, ".", "/")); err == nil {
			found = append(found, n+"="+strings.TrimSpace(string(b)))
		}
	}
	return strings.Join(slices.Compact(found), " ")
}
