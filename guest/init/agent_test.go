//go:build linux && amd64

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/agent"
	"splitvm/guest/agent/tree"
	"splitvm/guest/init/cmdline"
	"splitvm/guest/init/report"
)

// newAgent is an agent without a guest: processes of the test, over sockets of
// its own. A process that only sleeps keeps the reaper at work.
func newAgent(t *testing.T, base cmdline.Command) *agentServer {
	t.Helper()
	r := newReaper()
	keep, err := findProgram(cmdline.Command{Argv: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	p, err := r.start(func() (int, error) { return keep.fork([]uintptr{null.Fd(), null.Fd(), null.Fd()}, false) })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := r.until(p); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { p.signal(unix.SIGKILL, false); <-done })
	return &agentServer{reaper: r, base: base}
}

// connect starts a session and returns the host's end.
func (a *agentServer) connect(t *testing.T) net.Conn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	guest, f := os.NewFile(uintptr(fds[0]), "guest"), os.NewFile(uintptr(fds[1]), "host")
	host, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer guest.Close()
		a.session(guest)
	}()
	t.Cleanup(func() { host.Close(); <-done })
	return host
}

type result struct {
	out, err string
	status   agent.Status
}

func (a *agentServer) run(t *testing.T, c cmdline.Command, in io.Reader) (result, error) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	st, err := agent.Run(ctx, a.connect(t), agent.Request{Exec: &c, Size: agent.Size{Cols: 90, Rows: 30}}, agent.Streams{In: in, Out: &out, Err: &errs})
	return result{out.String(), errs.String(), st}, err
}

func sh(script string) cmdline.Command { return cmdline.Command{Argv: []string{"sh", "-c", script}} }

func TestExec(t *testing.T) {
	a := newAgent(t, cmdline.Command{Env: []string{"BASE=b", "BOTH=b"}, Cwd: "/usr"})
	inTmp := sh(`echo "$BASE $BOTH $PWD"`)
	inTmp.Env, inTmp.Cwd = []string{"BOTH=own"}, "/tmp"
	terminal := sh(`tty >/dev/null && stty size && echo err >&2; exit 4`)
	terminal.TTY = true
	for name, c := range map[string]struct {
		cmd  cmdline.Command
		in   string
		want result
	}{
		"streams":                   {sh("cat; echo err >&2; exit 3"), "input", result{"input", "err\n", agent.Status{Code: 3}}},
		"killed":                    {sh("kill -9 $$"), "", result{"", "", agent.Status{Signal: 9}}},
		"inherits":                  {sh(`echo "$BASE $BOTH $PWD"`), "", result{"b b /usr\n", "", agent.Status{}}},
		"overrides":                 {inTmp, "", result{"b own /tmp\n", "", agent.Status{}}},
		"leaves a process behind":   {sh("sleep 20 & echo started"), "", result{"started\n", "", agent.Status{}}},
		"takes no input":            {sh("exec <&-; echo deaf"), strings.Repeat("x", 1<<20), result{"deaf\n", "", agent.Status{}}},
		"a terminal, and of a size": {terminal, "", result{"30 90\r\nerr\r\n", "", agent.Status{Code: 4}}},
	} {
		got, err := a.run(t, c.cmd, strings.NewReader(c.in))
		if got != c.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

// TestExecMuch sends more than any buffer holds, both ways.
func TestExecMuch(t *testing.T) {
	a := newAgent(t, cmdline.Command{})
	want := make([]byte, 8<<20)
	rand.New(rand.NewSource(1)).Read(want)
	got, err := a.run(t, cmdline.Command{Argv: []string{"cat"}}, bytes.NewReader(want))
	if err != nil || got.out != string(want) {
		t.Errorf("%d bytes of %d came back (%v)", len(got.out), len(want), err)
	}
	got, err = a.run(t, sh("head -c 3000000 /dev/zero"), nil)
	if err != nil || len(got.out) != 3_000_000 {
		t.Errorf("%d bytes, %v", len(got.out), err)
	}
}

func TestExecFailures(t *testing.T) {
	a := newAgent(t, cmdline.Command{})
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cmd  cmdline.Command
		want uint8
	}{
		{cmdline.Command{Argv: []string{"no-such-program"}}, report.ExitNotFound},
		{cmdline.Command{Argv: []string{file}}, report.ExitNotExecutable},
		{cmdline.Command{Argv: []string{"true"}, User: "nobody-here"}, report.ExitFailed},
		{cmdline.Command{Argv: []string{"true"}, Cwd: "/nowhere"}, report.ExitFailed},
	} {
		_, err := a.run(t, c.cmd, nil)
		var f *agent.Failure
		if !errors.As(err, &f) || f.Status != c.want || f.Reason == "" {
			t.Errorf("%v: %v; want a failure with status %d", c.cmd, err, c.want)
		}
	}
}

// TestExecControl resizes a terminal, sends a signal, and hangs up.
func TestExecControl(t *testing.T) {
	a := newAgent(t, cmdline.Command{})
	w, r := a.begin(t, sh(`trap 'stty size' WINCH; trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.01; done`), true)
	r.expect("ready")
	w.Send(agent.Resize, agent.Size{Cols: 33, Rows: 11}.Encode())
	r.expect("11 33")
	w.Send(agent.Signal, []byte{byte(unix.SIGTERM)})
	r.expect("term")
	if st := r.exited(); st.Code != 5 {
		t.Errorf("status %v", st)
	}
}

// TestHangUp has the shell say nothing of its sleep, which the signal ends,
// too: nobody reads any more, and the next that it wrote would end it.
func TestHangUp(t *testing.T) {
	a := newAgent(t, cmdline.Command{})
	gone := filepath.Join(t.TempDir(), "gone")
	for _, tty := range []bool{false, true} {
		_, r := a.begin(t, sh(fmt.Sprintf(`exec 2>/dev/null; trap 'touch %s; exit' HUP; echo ready; while :; do sleep 0.01; done`, gone)), tty)
		r.expect("ready")
		r.conn.Close()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if os.Remove(gone) == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("tty %v: no SIGHUP when the host hung up", tty)
			}
		}
	}
}

// conversation is a session frame by frame.
type conversation struct {
	t    *testing.T
	conn net.Conn
	*agent.Reader
	out string
}

func (a *agentServer) begin(t *testing.T, c cmdline.Command, tty bool) (*agent.Writer, *conversation) {
	t.Helper()
	conn := a.connect(t)
	conn.SetDeadline(time.Now().Add(time.Minute))
	c.TTY = tty
	req, err := agent.Request{Exec: &c}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w, r := agent.NewWriter(conn), agent.NewReader(conn)
	if err := w.Send(agent.Start, req); err != nil {
		t.Fatal(err)
	}
	return w, &conversation{t: t, conn: conn, Reader: r}
}

// expect reads until the output has the text.
func (c *conversation) expect(text string) {
	c.t.Helper()
	for !strings.Contains(c.out, text) {
		typ, p, err := c.Next()
		if err != nil || typ == agent.Exited || typ == agent.Failed {
			c.t.Fatalf("no %q in %q: frame %d %q, %v", text, c.out, typ, p, err)
		}
		c.out += string(p)
	}
}

func (c *conversation) exited() agent.Status {
	c.t.Helper()
	for {
		typ, p, err := c.Next()
		if err != nil {
			c.t.Fatal(err)
		}
		if typ == agent.Exited {
			st, err := agent.ParseStatus(p)
			if err != nil {
				c.t.Fatal(err)
			}
			return st
		}
	}
}

// TestCopy brings a tree into the guest and back.
func TestCopy(t *testing.T) {
	a := newAgent(t, cmdline.Command{})
	src, guest, back := t.TempDir(), t.TempDir(), t.TempDir()
	want := make([]byte, 2<<20)
	rand.New(rand.NewSource(2)).Read(want)
	if err := os.WriteFile(src+"/f", want, 0o640); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(tree.Pack(w, src+"/f")) }()
	if st, err := agent.Run(t.Context(), a.connect(t), agent.Request{Put: guest + "/g"}, agent.Streams{In: r}); err != nil || st.ExitStatus() != 0 {
		t.Fatal(st, err)
	}
	var archive bytes.Buffer
	if st, err := agent.Run(t.Context(), a.connect(t), agent.Request{Get: guest + "/g"}, agent.Streams{Out: &archive}); err != nil || st.ExitStatus() != 0 {
		t.Fatal(st, err)
	}
	if err := tree.Unpack(&archive, back); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(back + "/g"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back (%v)", len(got), err)
	}
	_, err := agent.Run(t.Context(), a.connect(t), agent.Request{Get: guest + "/none"}, agent.Streams{Out: io.Discard})
	var f *agent.Failure
	if !errors.As(err, &f) {
		t.Errorf("a file that is not there: %v", err)
	}
}
