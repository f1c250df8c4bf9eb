package trouble

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"splitvm/ept/handoff"
	"splitvm/monitors/memory"
)

// roleVariable names what this process is, if not the tests.
const roleVariable = "SPLITVM_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		runtime.GOMAXPROCS(runtime.NumCPU() + 16)
		os.Exit(m.Run())
	case "pager":
		finish(servePager())
	case "monitor":
		finish(serveMonitor())
	default:
		finish(fmt.Errorf("no role %q", role))
	}
}

func finish(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// servePager is a pager for the VMM on descriptor 3.
func servePager() error {
	runtime.GOMAXPROCS(runtime.NumCPU() + 16)
	file := os.NewFile(3, "vmm")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return err
	}
	return handoff.Serve(context.Background(), conn.(*net.UnixConn), handoff.Remote{Checksums: true, Log: slog.New(slog.DiscardHandler)})
}

// monitorMem is what a monitor holds at most.
const monitorMem = 1 << 30

// serveMonitor is a memory monitor, which says its address, and ends with its
// standard input.
func serveMonitor() error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return memory.Run(ctx, memory.Config{Listen: []string{"127.0.0.1:0"}, Store: memory.StoreConfig{Mem: monitorMem}, Checksums: true,
		Log: slog.New(slog.DiscardHandler), Ready: func(data []net.Addr, _ net.Addr) { fmt.Println(data[0]) }})
}

// role is the command of this binary in a role.
func role(name string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// startMonitors starts n memory monitors, which end with the test.
func startMonitors(t testing.TB, n int) (addrs []string) {
	t.Helper()
	for range n {
		cmd := role("monitor")
		in, err := cmd.StdinPipe()
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		t.Cleanup(func() {
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("memory monitor: %v", err)
			}
		})
		addr, err := bufio.NewReader(out).ReadString('\n')
		must(t, err)
		addrs = append(addrs, strings.TrimSpace(addr))
	}
	return addrs
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
