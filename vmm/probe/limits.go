package probe

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What a rack's processes can come to need.
const (
	wantFiles = 4096    // descriptors: about 60 a VMM, 2 a monitor connection
	wantMaps  = 65530   // mappings: the kernel's default is plenty
	wantFree  = 1 << 30 // bytes of memory
)

func openFiles() Check {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return bad("open-files", Warn, "", "%v", err)
	}
	if l.Max < wantFiles {
		return bad("open-files", Warn, fmt.Sprintf("raise it: ulimit -n %d, or LimitNOFILE= of the service", wantFiles), "limit %d", l.Max)
	}
	return ok("open-files", "limit %d", l.Max)
}

func addressSpace() Check {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_AS, &l); err != nil {
		return bad("address-space", Warn, "", "%v", err)
	}
	if l.Max != unix.RLIM_INFINITY && l.Cur < 1<<42 {
		return bad("address-space", Warn, "lift it: ulimit -v unlimited; a vNode maps all of its RAM", "limit %d GiB", l.Cur>>30)
	}
	return ok("address-space", "no limit")
}

func mapCount() Check {
	n, err := readInt("/proc/sys/vm/max_map_count")
	if err != nil {
		return bad("map-count", Warn, "mount /proc", "%v", err)
	}
	if n < wantMaps {
		return bad("map-count", Warn, fmt.Sprintf("sysctl vm.max_map_count=%d", wantMaps), "%d", n)
	}
	return ok("map-count", "%d", n)
}

func overcommit() Check {
	n, err := readInt("/proc/sys/vm/overcommit_memory")
	if err != nil {
		return bad("overcommit", Warn, "mount /proc", "%v", err)
	}
	if n == 2 {
		return bad("overcommit", Warn, "sysctl vm.overcommit_memory=0; strict accounting charges a vNode's whole RAM at once", "strict")
	}
	return ok("overcommit", "mode %d", n)
}

func freeMemory() Check {
	kib, err := meminfo("MemAvailable:")
	if err != nil {
		return bad("memory", Warn, "mount /proc", "%v", err)
	}
	if kib<<10 < wantFree {
		return bad("memory", Warn, "free some memory, or run small vNodes", "%d MiB available", kib>>10)
	}
	return ok("memory", "%d MiB available", kib>>10)
}

// cgroupMemory looks for a limit on our control group or one above it.
func cgroupMemory() Check {
	const name = "cgroup-memory"
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ok(name, "no control groups")
	}
	_, group, found := strings.Cut(strings.TrimSpace(string(data)), "0::")
	if !found {
		return ok(name, "no unified control group")
	}
	for ; ; group = path.Dir(group) {
		limit, err := readInt(path.Join("/sys/fs/cgroup", group, "memory.max"))
		if err == nil && limit < 4<<30 {
			return bad(name, Warn, "raise memory.max there, or start elsewhere: guest RAM counts against it", "%s is limited to %d MiB", group, limit>>20)
		}
		if group == "/" || group == "." {
			return ok(name, "no limit below 4 GiB")
		}
	}
}

// autogroup tells whether each session has its own share of the CPUs (sched(7)). With
// many, on Linux 6.18, some wait for seconds. A process in a control group for CPUs is in
// that one's.
func autogroup() Check {
	const name = "autogroup"
	on, err := readInt("/proc/sys/kernel/sched_autogroup_enabled")
	if err != nil || on == 0 {
		return ok(name, "no")
	}
	if groups, err := os.ReadFile("/proc/self/cgroup"); err == nil && !inRootCPUGroup(string(groups)) {
		return ok(name, "not for this process: it is in a control group")
	}
	return bad(name, Warn, "start a rack's monitors from one session, as `splitvm rack up` does, or sysctl kernel.sched_autogroup_enabled=0", "each session has its own share of the CPUs")
}

// inRootCPUGroup reads /proc/PID/cgroup (cgroups(7)): of version 1 if that has the
// controller for CPUs, else of version 2.
func inRootCPUGroup(groups string) bool {
	root := true
	for line := range strings.Lines(groups) {
		id, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		if slices.Contains(strings.Split(controllers, ","), "cpu") {
			return path == "/"
		}
		if id == "0" && controllers == "" {
			root = path == "/"
		}
	}
	return root
}

func meminfo(field string) (int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == field {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no %s", field)
}

func readInt(name string) (int64, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}
