package rig_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/integration/require"
	"splitvm/integration/rig"
	"splitvm/integration/rig/debs"
)

func openCache(t *testing.T) *debs.Cache {
	t.Helper()
	c, err := debs.Open("", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A person at a terminal: `rig shell` with a disk of theirs, Ctrl-C, an exit
// status, and what was written is on the disk afterwards.
func TestShell(t *testing.T) {
	require.Rig(t)
	have, err := rig.Fetch(t.Context(), openCache(t))
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk.raw")
	hostTool(t, have, "mke2fs", "-q", "-t", "ext4", disk, "64M")
	prog, err := rig.GoBuild(t.Context(), "splitvm/integration/rig/cmd/rig", false)
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Remove()

	tty := openTerminal(t, 44, 111)
	cmd := exec.CommandContext(t.Context(), prog.Path(), "shell", "--splitvm", "none", "--disk", disk+":mine", "--file", "doc.go:/root/doc.go")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty.slave, tty.slave, tty.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.slave.Close()
	tty.expect(t, "rig:~# ", 5*time.Minute)
	tty.do(t, "stty size; wc -l <doc.go", "44 111\r\n")
	tty.do(t, "sleep 1000", "")
	time.Sleep(time.Second) // until the sleep has started; before, the shell itself gets the Ctrl-C, which is as good
	tty.do(t, "\x03", "rig:~# ")
	tty.do(t, "mount /dev/rig/mine /mnt && echo kept >/mnt/f && echo written", "written\r\n")
	tty.do(t, "exit 9", "")
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("%v, want exit status 9; the terminal:\n%s", err, tty.text())
	}
	if got := hostTool(t, have, "debugfs", "-R", "cat /f", disk); !strings.Contains(got, "kept") {
		t.Errorf("the disk has %q", got)
	}
}

// hostTool runs one of the rig's programs here.
func hostTool(t *testing.T, have rig.Have, name string, args ...string) string {
	t.Helper()
	cmd, err := have.Tools.Command(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// A terminal is the user's side of one.
type terminal struct {
	master, slave *os.File
	mu            sync.Mutex
	shown         strings.Builder // guarded by mu
	seen          int             // how much of it expect has passed
}

func openTerminal(t *testing.T, rows, cols uint16) *terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	tty := &terminal{master: os.NewFile(uintptr(fd), "ptmx"), slave: slave}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = io.Copy(tty, tty.master) // until the terminal is closed
	}()
	t.Cleanup(func() { tty.master.Close(); <-over })
	return tty
}

func (y *terminal) Write(p []byte) (int, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.shown.Write(p)
}

func (y *terminal) text() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.shown.String()
}

// do types a line and waits for what it must bring.
func (y *terminal) do(t *testing.T, line, want string) {
	t.Helper()
	y.seen = len(y.text())
	if line != "\x03" {
		line += "\r"
	}
	if _, err := y.master.WriteString(line); err != nil {
		t.Fatal(err)
	}
	y.expect(t, want, time.Minute)
}

func (y *terminal) expect(t *testing.T, want string, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for !strings.Contains(y.text()[y.seen:], want) {
		if ctx.Err() != nil {
			t.Fatalf("no %q on the terminal:\n%s", want, y.text())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
