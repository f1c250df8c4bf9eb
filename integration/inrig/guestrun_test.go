package inrig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// guestTools is a squashfs root with busybox and the guest's side of the
// tests (guestTool), made once per boot of the machine.
func guestTools(t *testing.T) string {
	t.Helper()
	image, err := makeGuestTools()
	if err != nil {
		t.Fatal(err)
	}
	return image
}

var makeGuestTools = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	root, err := os.MkdirTemp("/tmp", "guest-tools")
	if err != nil {
		return "", err
	}
	script := `set -e
cd "$1"
mkdir -p bin proc sys dev tmp run etc lib usr
: >etc/resolv.conf # for the name servers to be mounted on, as in an image
cp "$(readlink -f "$(which busybox)")" bin/busybox
cp "$2" bin/` + guestTool + `
for a in $(bin/busybox --list); do [ -e bin/$a ] || ln -s busybox bin/$a; done
mksquashfs . "$1.sqfs" -noappend -quiet`
	if out, err := exec.Command("sh", "-c", script, "sh", root, self).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a root for guests: %w\n%s", err, out)
	}
	return root + ".sqfs", nil
})

// guestRun is a command in a guest of our own VMM that is under way.
type guestRun struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    bytes.Buffer
	cancel context.CancelFunc
}

// startGuest runs a shell script in a guest with guestTools as its root.
func startGuest(t *testing.T, kernel string, flags []string, script string) *guestRun {
	t.Helper()
	modules, err := filepath.Glob("/kernels/" + kernel + "/lib/modules/*")
	if err != nil || len(modules) != 1 {
		t.Fatalf("modules of kernel %s: %v, %v", kernel, modules, err)
	}
	args := append([]string{"run", "--local", "--kernel", "/kernels/" + kernel + "/bzImage", "--modules", modules[0],
		"--disk", guestTools(t) + ",ro", "--mem", "512M", "--cpus", "2"}, flags...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*guestLimit)
	g := &guestRun{t: t, cancel: cancel, cmd: exec.CommandContext(ctx, "splitvm", append(args, "--", "/bin/sh", "-c", script)...)}
	g.cmd.Stdout, g.cmd.Stderr = &g.out, &g.out
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		g.cmd.Wait()
	})
	return g
}

// wait waits for the guest's end and returns what it wrote.
func (g *guestRun) wait() string {
	g.t.Helper()
	defer g.cancel()
	if err := g.cmd.Wait(); err != nil {
		g.t.Fatalf("guest: %v\n%s", err, g.out.String())
	}
	return g.out.String()
}

// field returns the word after the mark in the guest's output.
func field(t *testing.T, out, mark string) string {
	t.Helper()
	words := strings.Fields(grep(out, mark))
	if len(words) < 2 {
		t.Fatalf("the guest did not say %q:\n%s", mark, out)
	}
	return words[1]
}
