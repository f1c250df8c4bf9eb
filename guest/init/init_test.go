//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"splitvm/guest/init/cmdline"
	"splitvm/guest/init/report"
)

// What init does as process 1 is tested in guests: integration/inrig.

func TestEnvironment(t *testing.T) {
	who := account{name: "nobody", home: "/nowhere"}
	got := environment(cmdline.Command{Env: []string{"A=1", "PATH=/x", "A=2", "HOMELESS=y"}, TTY: true}, who)
	slices.Sort(got)
	want := []string{"A=2", "HOME=/nowhere", "HOMELESS=y", "PATH=/x", "TERM=linux", "USER=nobody"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if plain := environment(cmdline.Command{}, who); slices.Contains(plain, "TERM=linux") {
		t.Error("TERM without a terminal")
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"a/prog": 0o755, "b/prog": 0o755, "a/data": 0o644, "b/data": 0o755, "a/only": 0o644, "here": 0o755} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "a/dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	env := []string{"X=y", fmt.Sprintf("PATH=%s/a:%s/b/:.:", dir, dir)}
	for program, want := range map[string]string{
		"prog": dir + "/a/prog", "data": dir + "/b/data", "here": dir + "/./here", "./x": "./x", "/bin/y": "/bin/y",
	} {
		if got, err := lookPath(program, dir, env); got != want || err != nil {
			t.Errorf("%s is %s, %v; want %s", program, got, err, want)
		}
	}
	for program, code := range map[string]uint8{"none": report.ExitNotFound, "dir": report.ExitNotFound, "only": report.ExitNotExecutable} {
		if _, err := lookPath(program, dir, env); exitCode(err) != code {
			t.Errorf("%s: %v, exit status %d; want %d", program, err, exitCode(err), code)
		}
	}
	if exitCode(errors.New("other")) != report.ExitFailed || exitCode(fmt.Errorf("run: %w", unix.ENOEXEC)) != report.ExitNotExecutable {
		t.Error("exit statuses of other errors")
	}
}

func TestLookUpAccount(t *testing.T) {
	for spec, want := range map[string]account{
		"":            {name: "root", home: "/root"},
		"0:0":         {name: "root", home: "/root"},
		"987654":      {name: "987654", uid: 987654, home: "/"},
		"987654:321":  {name: "987654", uid: 987654, gid: 321, home: "/"},
		"root:123456": {name: "root", gid: 123456, home: "/root"},
	} {
		got, err := lookUpAccount(spec)
		if d := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); d != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", spec, err, d)
		}
	}
	for _, spec := range []string{"no-such-user", "0:no-such-group", "-1", "4294967296", ":0"} {
		if got, err := lookUpAccount(spec); err == nil {
			t.Errorf("%q is %+v", spec, got)
		}
	}
}

func TestDevicePatterns(t *testing.T) {
	if d := cmp.Diff([]string{"/sys/bus/pci/devices/*/modalias", "/sys/bus/virtio/devices/*/modalias"}, devicePatterns([]string{"pci", "virtio"})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := devicePatterns([]string{"pci", "acpi"}); len(got) != 1 || !strings.HasPrefix(got[0], "/sys/bus/*/") {
		t.Errorf("with acpi: %v", got)
	}
}

func TestMountOptions(t *testing.T) {
	for list, want := range map[string]struct {
		flags   uintptr
		options string
	}{
		"": {}, "noatime": {flags: unix.MS_NOATIME}, "rw,errors=panic,ro,data=ordered": {unix.MS_RDONLY, "errors=panic,data=ordered"},
	} {
		if flags, options := mountOptions(list); flags != want.flags || options != want.options {
			t.Errorf("%q is %#x and %q, want %#x and %q", list, flags, options, want.flags, want.options)
		}
	}
}

func TestUnescapeMount(t *testing.T) {
	if got := unescapeMount(`/mnt/a\040b\134c\011`); got != "/mnt/a b\\c\t" {
		t.Errorf("got %q", got)
	}
}

// Only what is on the device goes, and nothing through links.
func TestDeleteWithin(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(outside+"/kept", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir+"/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(dir+"/a/b/c", nil, 0o444), os.Symlink(outside, dir+"/a/out")); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	if err := deleteWithin(dir, st.Dev+1); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/a/b/c"); err != nil {
		t.Errorf("deleted on another device: %v", err)
	}
	if err := deleteWithin(dir, st.Dev); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := os.Stat(outside + "/kept"); err != nil {
		t.Errorf("went through a link: %v", err)
	}
}

// The host names one port after the other; none is given up before all have
// their names.
func TestUnnamedPort(t *testing.T) {
	dir := t.TempDir()
	if unnamedPort(dir) {
		t.Error("no port, and one without a name")
	}
	for _, port := range []string{"vport0p0", "vport0p1"} {
		if err := os.Mkdir(filepath.Join(dir, port), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, port := range []string{"vport0p1", "vport0p0"} {
		if !unnamedPort(dir) {
			t.Errorf("%s has no name, and is not waited for", port)
		}
		if err := os.WriteFile(filepath.Join(dir, port, "name"), []byte("x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if unnamedPort(dir) {
		t.Error("all have names")
	}
	looks := 0
	if got := awaitPort("no such port", func() bool { looks++; return looks < 5 }); got != "" || looks != 5 {
		t.Errorf("found %q after %d looks, want none after 5", got, looks)
	}
}
