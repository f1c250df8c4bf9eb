package probe

import (
	"fmt"
	"os"
	"path"
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
