package bare

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	gb "splitvm/guest/bare"
	"splitvm/integration/programs"
	"splitvm/integration/require"
)

// built is a splitvm that TestMain removes.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(filepath.Dir(built))
	}
	os.Exit(code)
}

// command builds splitvm, once. Tests that need it are not parallel.
func command(t testing.TB) string {
	t.Helper()
	if built != "" {
		return built
	}
	dir, err := os.MkdirTemp("", "splitvm-test-")
	must(t, err)
	built = filepath.Join(dir, "splitvm")
	programs.Build(t, dir, "splitvm/cmd/splitvm")
	return built
}

// box is a splitvm process in a session, with directories of its own, so that
// whatever it leaves is seen.
type box struct {
	binary, kernel, run, tmp string
}

func newBox(t testing.TB, program gb.Program) *box {
	t.Helper()
	require.KVM(t)
	b := &box{binary: command(t), kernel: filepath.Join(t.TempDir(), "kernel"), run: t.TempDir(), tmp: t.TempDir()}
	must(t, os.WriteFile(b.kernel, gb.ELF(program), 0o600))
	return b
}

// command is `splitvm run` with the guest in the place of a kernel.
func (b *box) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.binary, append([]string{"run", "--kernel", b.kernel}, args...)...)
	cmd.Env = append(os.Environ(), "SPLITVM_RUN_DIR="+b.run, "TMPDIR="+b.tmp, "XDG_RUNTIME_DIR="+b.run)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// left is what a process left: processes of its session, and files.
func (b *box) left(t testing.TB, session int) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{b.run, b.tmp} {
		entries, err := os.ReadDir(dir)
		must(t, err)
		for _, e := range entries {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	must(t, err)
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // gone meanwhile
		}
		// The name in parentheses may hold anything; state, parent, group,
		// session follow it.
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if len(fields) > 3 && string(fields[3]) == strconv.Itoa(session) {
			found = append(found, string(b))
		}
	}
	return found
}

// clean waits for what ends a little later than its parent.
func (b *box) clean(t testing.TB, what string, session int) {
	t.Helper()
	var left []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if left = b.left(t, session); len(left) == 0 {
			return
		}
	}
	t.Fatalf("%s left behind: %s", what, strings.Join(left, "\n"))
}

// The whole command starts a guest that powers off, again and again.
func TestProcessesInARow(t *testing.T) {
	b := newBox(t, gb.Off)
	var took []time.Duration
	n := rounds(20, 1000)
	for i := range n {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := b.command(ctx, "--local", "--mem", "4G", "--cpus", strconv.Itoa(1+i%2))
		begin := time.Now()
		out, err := cmd.CombinedOutput()
		took = append(took, time.Since(begin))
		cancel()
		if err != nil {
			t.Fatalf("start %d: %v\n%s", i, err, out)
		}
		b.clean(t, fmt.Sprintf("start %d", i), cmd.Process.Pid)
	}
	slices.Sort(took)
	t.Logf("%d processes, exec to exit: p50 %v, p99 %v, longest %v", n, took[n/2], took[n*99/100], took[n-1])
}

// A guest that runs ends with the process that runs it, however that ends, and
// leaves no process. (What a SIGKILL leaves in the run directory is taken over by
// the next of that name.)
func TestEndsOfTheProcess(t *testing.T) {
	b := newBox(t, gb.Greet)
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
		code   int
	}{{"SIGTERM", syscall.SIGTERM, 128 + 15}, {"SIGINT", syscall.SIGINT, 128 + 2}, {"SIGKILL", syscall.SIGKILL, -1}} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			serial := filepath.Join(t.TempDir(), "serial")
			cmd := b.command(ctx, "--local", "--mem", "1G", "--serial", serial)
			must(t, cmd.Start())
			greeted(ctx, serial)
			must(t, cmd.Process.Signal(tt.signal))
			cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("exit status %d, want %d", got, tt.code)
			}
			if tt.signal == syscall.SIGKILL {
				b.sweep(t)
			}
			b.clean(t, tt.name, cmd.Process.Pid)
		})
	}
}

// With --exit-with-parent a guest ends when its parent is killed.
func TestKilledParent(t *testing.T) {
	b := newBox(t, gb.Greet)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	serial := filepath.Join(t.TempDir(), "serial")
	child := b.command(ctx, "--local", "--mem", "1G", "--serial", serial, "--exit-with-parent")
	parent := exec.CommandContext(ctx, "sh", append([]string{"-c", `"$0" "$@"; true`}, child.Args...)...)
	parent.Env, parent.SysProcAttr = child.Env, child.SysProcAttr
	must(t, parent.Start())
	greeted(ctx, serial)
	must(t, parent.Process.Kill())
	parent.Wait()
	b.clean(t, "killed parent", parent.Process.Pid)
}

// greeted waits for the guest's first word.
func greeted(ctx context.Context, serial string) {
	for out, _ := os.ReadFile(serial); len(out) == 0 && ctx.Err() == nil; out, _ = os.ReadFile(serial) {
		time.Sleep(time.Millisecond)
	}
}

// sweep empties the run directory.
func (b *box) sweep(t testing.TB) {
	t.Helper()
	entries, err := os.ReadDir(b.run)
	must(t, err)
	for _, e := range entries {
		must(t, os.Remove(filepath.Join(b.run, e.Name())))
	}
}
