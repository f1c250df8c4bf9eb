package trouble

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	gb "splitvm/guest/bare"
	"splitvm/integration/programs"
	"splitvm/remote/transport"
)

// build builds the splitvm command.
func build(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	programs.Build(t, dir, "splitvm/cmd/splitvm")
	return filepath.Join(dir, "splitvm")
}

// monitorCommand is a `splitvm monitor memory`.
type monitorCommand struct {
	addr string
	cmd  *exec.Cmd
}

// runMonitor starts a memory monitor at an address and returns when it listens.
func runMonitor(t testing.TB, binary, addr, mem string) *monitorCommand {
	t.Helper()
	m := &monitorCommand{addr, exec.Command(binary, "monitor", "memory", "--listen", addr, "--mem", mem)}
	must(t, m.cmd.Start())
	t.Cleanup(func() {
		m.cmd.Process.Kill() // a stopped one too
		m.cmd.Wait()
	})
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return m
		}
	}
	t.Fatalf("memory monitor does not listen on %s", addr)
	return nil
}

// freeAddress is a TCP address of this host that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	free, err := transport.FreeAddresses(1)
	must(t, err)
	return free[0]
}

// vnodeCommand is a `splitvm run` of program roam.
type vnodeCommand struct {
	cmd    *exec.Cmd
	dir    string // with its control socket
	serial string
	out    bytes.Buffer
	over   chan struct{} // closed when it has ended
}

// runVNode starts a guest that writes and checks 32 MiB behind an ExCache of an
// eighth of that.
func runVNode(ctx context.Context, t testing.TB, binary string, flags ...string) *vnodeCommand {
	t.Helper()
	dir := t.TempDir()
	kernel := filepath.Join(dir, "kernel")
	must(t, os.WriteFile(kernel, gb.ELF(gb.Roam), 0o600))
	v := &vnodeCommand{dir: dir, serial: filepath.Join(dir, "serial"), over: make(chan struct{})}
	v.cmd = exec.CommandContext(ctx, binary, append([]string{"run", "--kernel", kernel, "--mem", "64M", "--excache", "4M", "--serial", v.serial}, flags...)...)
	v.cmd.Env = append(os.Environ(), "SPLITVM_RUN_DIR="+dir)
	v.cmd.Stdout, v.cmd.Stderr = &v.out, &v.out
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	v.cmd.WaitDelay = 5 * time.Second
	must(t, v.cmd.Start())
	go func() {
		defer close(v.over)
		v.cmd.Wait()
	}()
	t.Cleanup(func() {
		v.cmd.Process.Kill()
		<-v.over
	})
	return v
}

// passes waits until the guest has gone through its memory n times more.
func (v *vnodeCommand) passes(t testing.TB, n int) {
	t.Helper()
	want := strings.Count(v.said(), string(gb.Hello)) + n
	for strings.Count(v.said(), string(gb.Hello)) < want {
		if strings.Contains(v.said(), string(gb.Lost)) {
			t.Fatal("the guest found a line that is not what it wrote")
		}
		select {
		case <-v.over:
			t.Fatalf("the guest has ended: %v\n%s", v.cmd.ProcessState, &v.out)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (v *vnodeCommand) said() string {
	b, _ := os.ReadFile(v.serial)
	return string(b)
}

// pager is the process that serves the vNode's memory.
func (v *vnodeCommand) pager(t testing.TB) int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	must(t, err)
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // gone meanwhile
		}
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // state, parent
		args, err := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
		if err != nil || len(fields) < 2 || string(fields[1]) != strconv.Itoa(v.cmd.Process.Pid) || !bytes.Contains(args, []byte("\x00pager")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		must(t, err)
		return pid
	}
	t.Fatal("the vNode has no pager")
	return 0
}
