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
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"splitvm/ept/handoff"
	"splitvm/monitors/memory"
)

// roleVariable names what this process is, if not the tests.
const roleVariable = "SPLITVM_TEST_ROLE"

// listenVariable is where a memory monitor listens.
const listenVariable = "SPLITVM_TEST_LISTEN"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		runtime.GOMAXPROCS(runtime.NumCPU() + 16)
		os.Exit(withRaces(m.Run))
	case "pager":
		finish(servePager())
	case "monitor":
		finish(serveMonitor())
	default:
		finish(fmt.Errorf("no role %q", role))
	}
}

// withRaces runs the tests, and fails them for data races in the processes that they start: of
// a pager, which is killed or ends with its guest, nobody sees the exit status.
func withRaces(run func() int) int {
	dir, err := os.MkdirTemp("", "svm")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv("GORACE", "log_path="+filepath.Join(dir, "race"))
	status := run()
	reports, _ := filepath.Glob(filepath.Join(dir, "race*"))
	for _, r := range reports {
		text, _ := os.ReadFile(r)
		fmt.Printf("a process of the tests has a data race:\n%s\n", text)
		status = 1
	}
	return status
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
	return memory.Run(ctx, memory.Config{Listen: []string{os.Getenv(listenVariable)}, Store: memory.StoreConfig{Mem: monitorMem}, Checksums: true,
		Log: slog.New(slog.DiscardHandler), Ready: func(data []net.Addr, _ net.Addr) { fmt.Println(data[0].Network() + ":" + data[0].String()) }})
}

// role is the command of this binary in a role.
func role(name string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// startMonitors starts n memory monitors, which end with the test: the first over TCP,
// the second through shared memory, and so on.
func startMonitors(t testing.TB, n int) (addrs []string) {
	t.Helper()
	for i := range n {
		listen := "127.0.0.1:0"
		if i%2 == 1 {
			listen = "shm:" + filepath.Join(t.TempDir(), "memory")
		}
		cmd := role("monitor")
		cmd.Env = append(cmd.Env, listenVariable+"="+listen)
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
