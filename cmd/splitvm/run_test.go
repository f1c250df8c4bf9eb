package main

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// A command line that can't work is refused before anything is done, with a
// word on what to give instead.
func TestRunRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("SPLITVM_IMAGES", t.TempDir())
	if err := os.WriteFile("k", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string // after run --kernel k
		want string
	}{
		{"", "give one of --local, --memory-monitor HOST:PORT and --global"},
		{"--local --memory-monitor a:1", "give one of --local, --memory-monitor HOST:PORT and --global"},
		{"--memory-monitor nowhere", "give HOST:PORT, unix:PATH or shm:PATH"},
		{"--local --mem 3", "at least 2 MiB"},
		{"--local --mem 2T", "at most 1024 GiB"},
		{"--local --mem 10000001", "a multiple of"},
		{"--local --mem much", "such as 512M"},
		{"--local --cpus 0", "give 1 to 64"},
		{"--local --cpus 65", "give 1 to 64"},
		{"--local --cpu 486", "give one of host, baseline, emulated"},
		{"--local --disk a,rw", "give ro, cache=writeback"},
		{"--local --disk a --disk ./a,ro", "given twice"},
		{"--local --net a/b", "a tap's name"},
		{"--local --name ../a", "letters, digits"},
		{"--local --modules m --initrd i", "not both"},
		{"--local -- command", "give the kernel's modules with --modules"},
		{"image", "give the kernel's modules with --modules"},
		{"image command", "give the command after --"},
		{"--kernel nowhere --local -- command", "splitvm image kernel ls"},
		{"--kernel= image", "splitvm image kernel import"},
		{"--local --read-only", "are for an image"},
		{"--local --env A=1", "give one after --"},
		{"--local --modules m --env A -- command", "give NAME=VALUE"},
		{"--local --volume a", "give --storage-monitor HOST:PORT, or --global"},
		{"--local --volume a,at=", "at=ADDRESS"},
		{"--global h:1 --volume a,steal", "leave steal and at= out"},
		{"--local --nonsense", "splitvm run --help"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			err := execute(t.Context(), append([]string{"splitvm", "run", "--kernel", "k"}, strings.Fields(tt.args)...))
			var status *exitError
			if !errors.As(err, &status) || status.code != exitUsage || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want exit status %d and %q", err, exitUsage, tt.want)
			}
		})
	}
}

// Arguments that nobody asked for are told, not ignored.
func TestStrayArguments(t *testing.T) {
	for _, args := range []string{"doctor now", "syscalls read", "bench start 3", "unknown", "stats", "stats a b"} {
		err := execute(t.Context(), append([]string{"splitvm"}, strings.Fields(args)...))
		var status *exitError
		if !errors.As(err, &status) || status.code != exitUsage {
			t.Errorf("splitvm %s: %v", args, err)
		}
	}
}
