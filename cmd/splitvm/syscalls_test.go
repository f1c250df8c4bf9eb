package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

// syscalls runs `splitvm syscalls` with the arguments and gives its output.
func syscalls(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	root := &cli.Command{Name: "splitvm", Writer: &out, ErrWriter: &out, Commands: []*cli.Command{syscallsCommand()}}
	if err := root.Run(t.Context(), append([]string{"splitvm", "syscalls"}, args...)); err != nil {
		t.Fatalf("splitvm syscalls %v: %v\n%s", args, err, out.String())
	}
	return out.String()
}

func TestSyscallsFilters(t *testing.T) {
	var calls []struct {
		Name, Monitor, Support string
		Lego                   bool
	}
	if err := json.Unmarshal([]byte(syscalls(t, "--monitor", "memory", "--lego", "-o", "json")), &calls); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range calls {
		if c.Monitor != "memory" || !c.Lego {
			t.Errorf("%+v got through", c)
		}
		names = append(names, c.Name)
	}
	if got, want := strings.Join(names, " "), "mmap mprotect munmap brk mremap msync madvise sysinfo mbind"; got != want {
		t.Errorf("LegoOS's calls of memory monitors: %s; want %s", got, want)
	}
	for _, line := range strings.Split(strings.TrimSpace(syscalls(t, "--unsupported")), "\n")[1:] {
		if f := strings.Fields(line); f[3] != "unimplemented" && f[3] != "absent" {
			t.Errorf("--unsupported lists %s", line)
		}
	}
}

func TestSyscallsTable(t *testing.T) {
	lines := strings.Split(syscalls(t), "\n")
	if want := []string{"NUMBER", "NAME", "MONITOR", "SUPPORT", "LEGO", "NOTE"}; strings.Join(strings.Fields(lines[0]), " ") != strings.Join(want, " ") {
		t.Errorf("heading %q", lines[0])
	}
	if got, want := strings.Join(strings.Fields(lines[1]), " "), "0 read storage full yes"; got != want {
		t.Errorf("first line %q, want %q", got, want)
	}
	if yaml := syscalls(t, "-m", "network", "-o", "yaml"); !strings.Contains(yaml, "name: socket\n") {
		t.Errorf("yaml:\n%s", yaml)
	}
}
