package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/integration/rig/agent"
	"splitvm/integration/rig/link"
)

// A bench is a Machine whose agent runs in this process instead of in QEMU, in
// whose place a process sleeps: all of the link and of the agent, and real
// commands, without a boot.
type bench struct {
	*Machine
	console *os.File // the machine's side
	served  chan error
}

func newBench(t *testing.T, hang time.Duration, serve func(port io.ReadWriter) error) *bench {
	t.Helper()
	sleeper, err := startEmulator(exec.Command("sleep", "1000"), nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{served: make(chan error, 1)}
	ours, theirs := socketpair(t)
	console, consoleEnd := socketpair(t)
	b.console = consoleEnd
	go func() { b.served <- serve(theirs) }()
	go func() { // QEMU's end is the console's
		<-sleeper.exited
		consoleEnd.Close()
	}()
	b.Machine = newMachine(sleeper, ours, console, io.Discard, hang, false)
	t.Cleanup(func() {
		b.Close()
		theirs.Close()
		<-b.served
	})
	if err := b.waitUp(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	return b
}

// newAgentBench is a bench with the real agent, which "powers off" by killing
// the sleeping process.
func newAgentBench(t *testing.T) *bench {
	return newBench(t, time.Hour, func(port io.ReadWriter) error {
		return agent.Serve(port, func() error { return nil })
	})
}

func socketpair(t *testing.T) (a, b *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
}

func TestRunStatus(t *testing.T) {
	m := newAgentBench(t)
	tests := []struct {
		cmd            Cmd
		stdout, stderr string
		code, signal   int
		says           string
	}{
		{cmd: Shell("echo out; echo err >&2"), stdout: "out\n", stderr: "err\n"},
		{cmd: Shell("exit 42"), code: 42, says: "exit status 42"},
		{cmd: Shell("kill -SEGV $$"), code: 139, signal: 11, says: "signal 11"},
		{cmd: Cmd{Args: []string{"/no/such/program"}}, code: -1, says: "no such file"},
		{cmd: Cmd{}, code: -1, says: "no words"},
		{cmd: Cmd{Args: []string{"sh", "-c", "pwd; echo $X"}, Dir: "/usr", Env: []string{"X=y z"}}, stdout: "/usr\ny z\n"},
		{cmd: Cmd{Args: []string{"cat"}, Stdin: strings.NewReader("typed")}, stdout: "typed"},
		{cmd: Cmd{Args: []string{"cat"}}},
		{cmd: Cmd{Args: []string{"printf", `\001\377\000`}}, stdout: "\x01\xff\x00"},
	}
	for _, test := range tests {
		var stdout, stderr bytes.Buffer
		test.cmd.Stdout, test.cmd.Stderr = &stdout, &stderr
		err := m.Run(t.Context(), test.cmd)
		if stdout.String() != test.stdout || stderr.String() != test.stderr {
			t.Errorf("%v: said %q and %q, want %q and %q", test.cmd.Args, &stdout, &stderr, test.stdout, test.stderr)
		}
		var exit *ExitError
		switch {
		case test.code == 0 && err != nil:
			t.Errorf("%v: %v", test.cmd.Args, err)
		case test.code != 0 && (!errors.As(err, &exit) || exit.Code != test.code || exit.Signal != test.signal || !strings.Contains(err.Error(), test.says)):
			t.Errorf("%v: %v, want status %d, signal %d, %q", test.cmd.Args, err, test.code, test.signal, test.says)
		}
	}
}

// Much goes both ways at once, larger than any buffer on the way.
func TestRunBulk(t *testing.T) {
	m := newAgentBench(t)
	in := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18) // 4 MiB
	var out bytes.Buffer
	if err := m.Run(t.Context(), Cmd{Args: []string{"cat"}, Stdin: bytes.NewReader(in), Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(in, out.Bytes()) {
		t.Errorf("%d bytes came back of %d, or others", out.Len(), len(in))
	}
}

// A command that doesn't read its input can be killed, and ends.
func TestRunUnreadInput(t *testing.T) {
	m := newAgentBench(t)
	zeroes := io.LimitReader(zero{}, 64<<20)
	if err := m.Run(t.Context(), Cmd{Args: []string{"true"}, Stdin: zeroes}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := m.Run(ctx, Cmd{Args: []string{"sleep", "1000"}, Stdin: zero{}})
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "did not end") || time.Since(began) > killDelay {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Killing a command kills what it started.
func TestRunCancelKillsGroup(t *testing.T) {
	m := newAgentBench(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("enough")
	pid := make(chan string, 1)
	first := writerFunc(func(p []byte) (int, error) {
		pid <- string(p)
		cancel(enough)
		return len(p), nil
	})
	if err := m.Run(ctx, Cmd{Args: []string{"sh", "-c", "sleep 1000 & echo $!; wait"}, Stdout: first}); !errors.Is(err, enough) {
		t.Fatalf("%v, want %v", err, enough)
	}
	n, err := strconv.Atoi(strings.TrimSpace(<-pid))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); alive(n); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d, which the command started, lives", n)
		}
	}
}

// alive tells whether a process runs; one that nobody waited for doesn't.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A process that a command leaves behind with its output doesn't hold Run up.
func TestRunLeftBehind(t *testing.T) {
	m := newAgentBench(t)
	var out bytes.Buffer
	if err := m.Run(t.Context(), Cmd{Args: []string{"sh", "-c", "sleep 20 & echo $!"}, Stdout: &out}); err != nil {
		t.Error(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Errorf("what was left behind is gone: %v", err)
	}
}

func TestRunConcurrently(t *testing.T) {
	m := newAgentBench(t)
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			var out bytes.Buffer
			err := m.Run(t.Context(), Cmd{Args: []string{"sh", "-c", fmt.Sprintf("for i in 1 2 3 4 5; do echo %d; done; cat; exit %d", n, n)}, Stdin: strings.NewReader(fmt.Sprint(n)), Stdout: &out})
			want := strings.Repeat(fmt.Sprintln(n), 5) + fmt.Sprint(n)
			var exit *ExitError
			if out.String() != want || (n != 0 && (!errors.As(err, &exit) || exit.Code != n)) {
				t.Errorf("command %d: %v, %q", n, err, &out)
			}
		})
	}
	wg.Wait()
}

func TestRunWriterFails(t *testing.T) {
	m := newAgentBench(t)
	full := errors.New("disk full")
	fails := writerFunc(func([]byte) (int, error) { return 0, full })
	if err := m.Run(t.Context(), Cmd{Args: []string{"echo", "x"}, Stdout: fails}); !errors.Is(err, full) {
		t.Errorf("%v, want %v", err, full)
	}
	if err := m.Run(t.Context(), Shell("true")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestTTY(t *testing.T) {
	m := newAgentBench(t)
	keys, typed := io.Pipe()
	var out lockedBuffer
	resize := make(chan link.Size, 1)
	done := make(chan error, 1)
	go func() {
		done <- m.Run(t.Context(), Cmd{Args: []string{"sh", "-c", `stty size; trap 'stty size' WINCH; trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.01; done`},
			TTY: &link.Size{Rows: 33, Cols: 77}, Resize: resize, Stdin: keys, Stdout: &out})
	}()
	out.await(t, "ready")
	resize <- link.Size{Rows: 40, Cols: 100}
	out.await(t, "40 100")
	if _, err := typed.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	var exit *ExitError
	if err := <-done; !errors.As(err, &exit) || exit.Code != 5 {
		t.Errorf("%v, want status 5", err)
	}
	typed.Close()
	for _, want := range []string{"33 77", "interrupted"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the terminal shows no %q: %q", want, out.String())
		}
	}
}

// A lockedBuffer is one that can be waited on.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *lockedBuffer) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(b.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in %q", text, b.String())
		}
	}
}

func TestPullPush(t *testing.T) {
	m := newAgentBench(t)
	src, far, back := t.TempDir(), t.TempDir(), t.TempDir()
	big := bytes.Repeat([]byte("big"), 1<<20)
	if err := os.MkdirAll(filepath.Join(src, "dir/sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "dir/sub/f"), big, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.Push(t.Context(), filepath.Join(src, "dir"), filepath.Join(far, "new")); err != nil {
		t.Fatal(err)
	}
	got, err := m.Pull(t.Context(), filepath.Join(far, "new/dir"), back)
	if err != nil || got != filepath.Join(back, "dir") {
		t.Fatalf("%s, %v", got, err)
	}
	if text, err := os.ReadFile(filepath.Join(got, "sub/f")); err != nil || !bytes.Equal(text, big) {
		t.Errorf("%d bytes of %d, %v", len(text), len(big), err)
	}
	if _, err := m.Pull(t.Context(), "/no/such/file", back); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("pull of nothing: %v", err)
	}
	if err := m.Push(t.Context(), "/no/such/file", far); err == nil || !strings.Contains(err.Error(), "push /no/such/file") {
		t.Errorf("push of nothing: %v", err)
	}
	if _, err := m.Pull(t.Context(), filepath.Join(far, "new/dir"), "/proc/self/nowhere"); err == nil {
		t.Error("pull to nowhere: no error")
	}
	if err := m.Run(t.Context(), Shell("true")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
