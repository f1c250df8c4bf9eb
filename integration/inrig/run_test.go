package inrig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// splitvmRun runs `splitvm run` to its end: its output, and exit status.
func splitvmRun(t testing.TB, kernel, image string, flags []string, command ...string) (stdout, stderr string, status int) {
	t.Helper()
	return splitvmRunOn(t, strings.NewReader("to the guest\n"), kernel, image, flags, command...)
}

// splitvmRunOn is splitvmRun with a standard input; nil is one at its end.
func splitvmRunOn(t testing.TB, stdin io.Reader, kernel, image string, flags []string, command ...string) (stdout, stderr string, status int) {
	t.Helper()
	dirs, err := filepath.Glob("/kernels/" + kernel + "/lib/modules/*")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("modules of %s: %v, %v", kernel, dirs, err)
	}
	args := append([]string{"run", "--kernel", "/kernels/" + kernel + "/" + image, "--modules", dirs[0], "--mem", "512M"}, flags...)
	ctx, cancel := context.WithTimeout(t.Context(), guestLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "splitvm", append(append(args, "--"), command...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("splitvm %v: %v\n%s%s", args, err, &out, &errs)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestRun boots Debian's stock kernels to a command, in each form and on each
// kind of root, with one CPU and with two, and looks at all that comes back.
func TestRun(t *testing.T) {
	needRig(t)
	const script = `read line && echo "got: $line" && echo "$(uname -r) on $(nproc)" && grep " / " /proc/mounts && echo to stderr >&2 && exit 7`
	for _, kernel := range kernels {
		for _, image := range []string{"bzImage", "vmlinux"} {
			for _, root := range []string{"root.ext4", "root.squashfs"} {
				for cpus := 1; cpus <= 2; cpus++ {
					t.Run(fmt.Sprintf("%s/%s/%s/%dcpu", kernel, image, root, cpus), func(t *testing.T) {
						disk := rootDisk(t, root)
						if root == "root.squashfs" {
							disk += ",ro"
						}
						out, errs, status := splitvmRun(t, kernel, image, []string{"--local", "--disk", disk, "--cpus", fmt.Sprint(cpus)}, "/bin/sh", "-c", script)
						_, fs, _ := strings.Cut(root, ".")
						for _, want := range []string{"got: to the guest\n", kernel + ".", fmt.Sprintf(" on %d\n", cpus), " / " + fs} {
							if !strings.Contains(out, want) {
								t.Errorf("no %q in the guest's output %q (stderr %q)", want, out, errs)
							}
						}
						if status != 7 || errs != "to stderr\n" {
							t.Errorf("status %d, stderr %q; want 7 and what the guest wrote", status, errs)
						}
						leftBehind(t)
					})
				}
			}
		}
	}
}

// TestRunWithoutInput runs commands whose standard input is at its end before
// the guest has a driver for it. One reads it, one does not.
func TestRunWithoutInput(t *testing.T) {
	needRig(t)
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			out, errs, status := splitvmRunOn(t, nil, kernel, "bzImage", []string{"--local", "--disk", rootDisk(t, "root.ext4"), "--cpus", "2"},
				"/bin/sh", "-c", `echo first && cat && echo "read: $(wc -c)" && sync`)
			if want := "first\nread: 0\n"; out != want || errs != "" || status != 0 {
				t.Errorf("status %d, output %q, stderr %q; want 0, %q and nothing", status, out, errs, want)
			}
			leftBehind(t)
		})
	}
}

// leftBehind fails the test if a process or a socket of splitvm's is there.
func leftBehind(t *testing.T) {
	t.Helper()
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range comms {
		if name, err := os.ReadFile(c); err == nil && strings.TrimSpace(string(name)) == "splitvm" {
			t.Errorf("a splitvm process is left: %s", filepath.Dir(c))
		}
	}
	if socks, _ := filepath.Glob("/run/splitvm/*"); len(socks) > 0 {
		t.Errorf("sockets are left: %v", socks)
	}
}
