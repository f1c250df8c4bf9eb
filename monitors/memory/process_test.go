package memory_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/monitors/memory"
	"splitvm/remote/client"
)

// roleEnv makes the test binary a process of its own: benchmarks and tests of
// kills need the monitor in another process, as it is in life.
const roleEnv = "SPLITVM_MEMORY_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := playRole(role); err != nil {
			fmt.Fprintln(os.Stderr, role, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

func playRole(role string) error {
	// The test's end, however it comes, ends the process.
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	args := strings.Fields(role)
	switch args[0] {
	case "monitor":
		return playMonitor(ctx, args[1:])
	case "echo":
		return playEcho(ctx, args[1])
	}
	return fmt.Errorf("no such role")
}

func playMonitor(ctx context.Context, args []string) error {
	cfg := memory.Config{Store: memory.StoreConfig{Mem: 1 << 30}, Checksums: true}
	fs := flag.NewFlagSet("monitor", flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:0", "")
	fs.Uint64Var(&cfg.Store.Mem, "mem", 1<<30, "")
	fs.BoolVar(&cfg.Store.Huge, "huge", false, "")
	fs.DurationVar(&cfg.Spin, "spin", 0, "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	cfg.Listen = strings.Split(*listen, ",")
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.Ready = func(data []net.Addr, _ net.Addr) { fmt.Println(data[0]) }
	return memory.Run(ctx, cfg)
}

// playEcho answers each 48 bytes with 4144: a read's round trip and nothing
// else. With "net" it uses package net, with "raw" blocking system calls.
func playEcho(ctx context.Context, kind string) error {
	runtime.GOMAXPROCS(runtime.NumCPU() + 8)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	context.AfterFunc(ctx, func() { os.Exit(0) })
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go echo(c, kind)
	}
}

func echo(c net.Conn, kind string) {
	b := make([]byte, answerBytes)
	if kind == "net" {
		for {
			if _, err := io.ReadFull(c, b[:requestBytes]); err != nil {
				return
			}
			c.Write(b)
		}
	}
	runtime.LockOSThread()
	fd := blockingFD(c)
	for {
		if n, err := unix.Read(fd, b[:requestBytes]); n <= 0 || err != nil {
			return
		}
		unix.Write(fd, b)
	}
}

const (
	requestBytes = 48
	answerBytes  = 48 + 4096
)

// blockingFD takes the descriptor out of a TCP connection.
func blockingFD(c net.Conn) int {
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		panic(err)
	}
	defer f.Close()
	c.Close()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		panic(err)
	}
	unix.SetNonblock(fd, false)
	return fd
}

// process is a role that runs.
type process struct {
	addr string
	cmd  *exec.Cmd
}

// start runs a role until the test ends and returns when it listens.
func start(tb testing.TB, role string) *process {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatalf("%s did not start: %v", role, err)
	}
	return &process{addr: strings.TrimSpace(line), cmd: cmd}
}

// kill kills the process and waits for its end.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// connect returns a client that is closed with the test.
func connect(tb testing.TB, cfg client.Config) *client.Client {
	tb.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}
