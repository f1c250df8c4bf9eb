package handoff_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"splitvm/ept/guesttest"
	"splitvm/monitors/memory"
	"splitvm/remote/server"
	"splitvm/remote/threads"
	"splitvm/remote/transport"
	"splitvm/remote/wire"
)

const monitorVariable = "SPLITVM_TEST_MONITOR"

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(runtime.NumCPU() + 16)
	if os.Getenv(monitorVariable) != "" {
		if err := serveMonitor(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	guesttest.Main(m)
}

// serveMonitor is a memory monitor process that ends with its standard input.
func serveMonitor() error {
	if err := threads.Block(16); err != nil {
		return err
	}
	srv, addr, err := listen(1 << 30)
	if err != nil {
		return err
	}
	fmt.Println(addr)
	io.Copy(io.Discard, os.Stdin)
	return srv.Close()
}

func listen(size uint64) (*server.Server, string, error) {
	store, err := memory.NewStore(memory.StoreConfig{Mem: size})
	if err != nil {
		return nil, "", err
	}
	srv := server.New(server.Config{Store: store, Options: wire.OptSums, Log: slog.New(slog.DiscardHandler)})
	l, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	go srv.Serve(l)
	return srv, l.Addr().String(), nil
}

// startMonitor starts a memory monitor in this process and returns its address.
func startMonitor(t testing.TB, size uint64) string {
	t.Helper()
	srv, addr, err := listen(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	return addr
}

// monitorProcess is a memory monitor that can be killed.
type monitorProcess struct {
	addr string
	cmd  *exec.Cmd
}

// startMonitorProcess starts a memory monitor in another process.
func startMonitorProcess(t testing.TB) *monitorProcess {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), monitorVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return &monitorProcess{strings.TrimSpace(addr), cmd}
}
