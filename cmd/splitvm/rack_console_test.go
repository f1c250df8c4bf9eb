package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"splitvm/integration/pty"
)

// transcriptOf is a command's output so far.
type transcriptOf struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *transcriptOf) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *transcriptOf) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (r *testRack) says(o *transcriptOf, text string) {
	r.t.Helper()
	r.wait(fmt.Sprintf("%q is shown", text), func() bool { return strings.Contains(o.String(), text) })
}

// `splitvm console` of a vNode on another processor monitor, at a terminal: what is typed
// arrives as it is, Ctrl-C too; the window's size does, at first and when it changes; the
// escape detaches, and the terminal is as before. `splitvm logs -f` has shown it all, and
// ends with the vNode.
func TestConsoleOfTheRack(t *testing.T) {
	r := startRack(t, 2)
	r.must("", "create", "--name", "v", "--bare", "exit")
	r.must("", "start", "v")
	r.wait("v runs", func() bool { return strings.Contains(r.must("", "ps"), "running") })
	var logs transcriptOf
	follow := r.command("logs", "-f", "v")
	follow.Stdout, follow.Stderr = &logs, &logs
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	r.says(&logs, "hello from v")

	master, slave, err := pty.Open(80, 24)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	before, err := pty.Modes(slave)
	if err != nil {
		t.Fatal(err)
	}
	var screen transcriptOf
	go io.Copy(&screen, master)
	console := r.console(slave, "v")
	r.says(&screen, "hello from v")
	r.says(&screen, "<window of 80 by 24>")
	for _, c := range []struct{ keys, want string }{{"ls\r", `<typed "ls\r">`}, {"\x03", `<typed "\x03">`}, {"\x01\x01", `<typed "\x01">`}} {
		if _, err := master.WriteString(c.keys); err != nil {
			t.Fatal(err)
		}
		r.says(&screen, c.want)
	}
	if err := pty.Resize(master, 132, 50); err != nil {
		t.Fatal(err)
	}
	r.says(&screen, "<window of 132 by 50>")
	if _, err := master.WriteString("\x01d"); err != nil {
		t.Fatal(err)
	}
	if err := console.Wait(); err != nil {
		t.Errorf("the console: %v", err)
	}
	r.says(&screen, "detached; the guest runs on")
	if after, err := pty.Modes(slave); err != nil || after != before {
		t.Errorf("the terminal is left as %+v, %v; it was %+v", after, err, before)
	}

	r.says(&logs, "<window of 132 by 50>")
	r.says(&logs, `<typed "ls\r">`)
	r.must("", "stop", "v")
	if err := follow.Wait(); err != nil {
		t.Errorf("logs -f: %v: %s", err, logs.String())
	}
	if out := r.must("", "logs", "v"); out != logs.String() {
		t.Errorf("logs afterwards: %q; followed: %q", out, logs.String())
	}
	r.must("", "rm", "v")
}

// console starts `splitvm console` at a terminal of its own.
func (r *testRack) console(terminal *os.File, name string) *exec.Cmd {
	r.t.Helper()
	cmd := r.command("console", name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

// Ctrl-C ends `logs -f`, and nothing else.
func TestFollowInterrupted(t *testing.T) {
	r := startRack(t, 1)
	r.start("v")
	var logs transcriptOf
	follow := r.command("logs", "-f", "v")
	follow.Stdout, follow.Stderr = &logs, &logs
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	r.says(&logs, "hello from v")
	follow.Process.Signal(os.Interrupt)
	if err := follow.Wait(); err != nil || logs.String() != "hello from v\n" {
		t.Errorf("%v, %q", err, logs.String())
	}
	if !strings.Contains(r.must("", "ps"), "running") {
		t.Error("the vNode does not run any more")
	}
}
