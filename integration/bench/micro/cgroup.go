//go:build amd64

package micro

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// memoryGroup is a memory cgroup of our own, of version 1 or 2.
type memoryGroup struct {
	dir                 string
	limit, usage, procs string // file names
	events              string // has the number of oom_kill
}

// newMemoryGroup makes one at the root of the hierarchy: a cgroup of version 2
// that has processes in it, as ours does, can have no children.
func newMemoryGroup() (*memoryGroup, error) {
	g, err := findMemoryGroup()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a memory cgroup: %w: this needs root", err)
	}
	if _, err := os.Stat(g.path(g.limit)); err != nil {
		return nil, errors.Join(fmt.Errorf("memory cgroup has no limit: %w: enable the memory controller for %s", err, filepath.Dir(g.dir)), g.close())
	}
	return g, nil
}

func findMemoryGroup() (*memoryGroup, error) {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("find memory cgroups: %w", err)
	}
	name := fmt.Sprintf("splitvm-bench-%d", os.Getpid())
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 4 {
			continue
		}
		switch {
		case f[2] == "cgroup" && slices.Contains(strings.Split(f[3], ","), "memory"):
			return &memoryGroup{filepath.Join(f[1], name), "memory.limit_in_bytes", "memory.usage_in_bytes", "cgroup.procs", "memory.oom_control"}, nil
		case f[2] == "cgroup2":
			if c, err := os.ReadFile(filepath.Join(f[1], "cgroup.controllers")); err == nil && slices.Contains(strings.Fields(string(c)), "memory") {
				return &memoryGroup{filepath.Join(f[1], name), "memory.max", "memory.current", "cgroup.procs", "memory.events"}, nil
			}
		}
	}
	return nil, errors.New("find memory cgroups: none is mounted: mount cgroup2, or boot with the memory controller on")
}

func (g *memoryGroup) path(name string) string { return filepath.Join(g.dir, name) }

// join puts a process into the group.
func (g *memoryGroup) join(pid int) error {
	return os.WriteFile(g.path(g.procs), []byte(strconv.Itoa(pid)), 0)
}

func (g *memoryGroup) used() (uint64, error) {
	b, err := os.ReadFile(g.path(g.usage))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// setLimit limits the group to n bytes, and waits until it has no more.
func (g *memoryGroup) setLimit(n uint64) error {
	var err error
	for range 20 {
		err = os.WriteFile(g.path(g.limit), []byte(strconv.FormatUint(n, 10)), 0)
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// shared is the shared memory in the group, which is what guest RAM is.
func (g *memoryGroup) shared() (uint64, error) { return g.number("memory.stat", "shmem") }

// killed is how many processes the kernel killed.
func (g *memoryGroup) killed() (uint64, error) { return g.number(g.events, "oom_kill") }

// number is what follows key in one of the group's files.
func (g *memoryGroup) number(file, key string) (uint64, error) {
	b, err := os.ReadFile(g.path(file))
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), key+" "); ok {
			return strconv.ParseUint(v, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", g.path(file), key)
}

// close removes the group, whose processes have ended.
func (g *memoryGroup) close() error {
	var err error
	for range 50 {
		if err = unix.Rmdir(g.dir); err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		time.Sleep(20 * time.Millisecond) // until the last of them has been reaped
	}
	return fmt.Errorf("remove memory cgroup %s: %w", g.dir, err)
}
