package bare

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	gb "splitvm/guest/bare"
	"splitvm/integration/pty"
)

// person sits at a terminal, on the other side of which splitvm runs.
type person struct {
	*testing.T
	box    *box
	master *os.File
	slave  *os.File
	before unix.Termios
	cmd    *exec.Cmd
	shown  strings.Builder // all of it
	seen   []byte          // and not yet expected
}

const (
	cols, rows = 120, 40
	patience   = time.Minute
)

// sit starts a guest that echoes at a terminal, with the session's leader as
// wrap has it, and waits until the guest has told the window's size.
func sit(t *testing.T, wrap func(*exec.Cmd) *exec.Cmd, args ...string) *person {
	t.Helper()
	p := &person{T: t, box: newBox(t, gb.Echo)}
	var err error
	p.master, p.slave, err = pty.Open(cols, rows)
	must(t, err)
	t.Cleanup(func() { p.master.Close(); p.slave.Close() })
	p.before, err = pty.Modes(p.slave)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	p.cmd = p.box.command(ctx, append([]string{"--local", "--mem", "64M"}, args...)...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = p.slave, p.slave, p.slave
	p.cmd.SysProcAttr.Setctty = true
	if wrap != nil {
		p.cmd = wrap(p.cmd)
	}
	must(t, p.cmd.Start())
	p.expect(sizeMessage(cols, rows))
	return p
}

// sizeMessage is how the guest tells the window's size.
func sizeMessage(cols, rows uint16) string {
	b := []byte{gb.EchoSize}
	b = binary.LittleEndian.AppendUint16(b, cols)
	return string(binary.LittleEndian.AppendUint16(b, rows))
}

func (p *person) types(keys string) {
	p.Helper()
	_, err := io.WriteString(p.master, keys)
	must(p, err)
}

// expect waits until the terminal shows text, and forgets all up to it.
func (p *person) expect(text string) {
	p.Helper()
	must(p, p.master.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 4096)
	for {
		if _, rest, found := bytes.Cut(p.seen, []byte(text)); found {
			p.seen = rest
			return
		}
		n, err := p.master.Read(buf)
		p.seen = append(p.seen, buf[:n]...)
		p.shown.Write(buf[:n])
		if n == 0 {
			p.Fatalf("waited for %q, saw %q: %v", text, p.seen, err)
		}
	}
}

// ended checks the exit status and that all is as it was before.
func (p *person) ended(code int) {
	p.Helper()
	p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.Errorf("exit status %d, want %d; the terminal shows %q", got, code, p.seen)
	}
	p.box.clean(p, "the command", p.cmd.Process.Pid)
	p.givenBack()
}

// givenBack checks that the terminal is as it was before.
func (p *person) givenBack() {
	p.Helper()
	after, err := pty.Modes(p.slave)
	if errors.Is(err, unix.EIO) {
		return // the person has closed it
	}
	must(p, err)
	if after != p.before {
		p.Errorf("the terminal was %+v, is %+v", p.before, after)
	}
}

// Keys that a terminal acts on go to the guest as they are; only the escape key
// is splitvm's.
func TestKeysGoToTheGuest(t *testing.T) {
	p := sit(t, nil)
	p.types("ab")
	p.expect("AB")
	p.types("\x03\x1a\x1c\x04\x13\x11\r\x7f") // Ctrl-C, -Z, -\, -D, -S, -Q, return, delete
	p.expect("#:<$31-_")
	p.types("\x01\x01\x01b") // Ctrl-A Ctrl-A is one Ctrl-A; Ctrl-A b is itself
	p.expect("!!B")
	p.types("\x01h")
	p.expect("Ctrl-A x       end the guest\r\n")
	must(t, pty.Resize(p.master, 81, 25))
	p.expect(sizeMessage(81, 25))
	p.types("\x01")
	p.types("x")
	p.expect("ended from the console")
	p.ended(125)
}

// A stopped splitvm, whose shell has taken the terminal back, makes it raw again
// when it goes on.
func TestStopAndContinue(t *testing.T) {
	p := sit(t, nil)
	raw, err := pty.Modes(p.slave)
	must(t, err)
	must(t, p.cmd.Process.Signal(unix.SIGSTOP))
	var info unix.Siginfo
	must(t, unix.Waitid(unix.P_PID, p.cmd.Process.Pid, &info, unix.WSTOPPED|unix.WNOWAIT, nil))
	must(t, pty.SetModes(p.slave, p.before))
	must(t, pty.Resize(p.master, 90, 20))
	must(t, p.cmd.Process.Signal(unix.SIGCONT))
	p.expect(sizeMessage(90, 20))
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		now, err := pty.Modes(p.slave)
		must(t, err)
		if now == raw {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the terminal is %+v, want %+v", now, raw)
		}
	}
	p.types("a\x03")
	p.expect("A#")
	p.types("\x01x")
	p.ended(125)
}

// However the guest ends, the terminal is as it was, and the exit status says
// what happened.
func TestTerminalIsGivenBack(t *testing.T) {
	signal := func(s syscall.Signal) func(*person) {
		return func(p *person) { must(p, p.cmd.Process.Signal(s)) }
	}
	keys := func(s string) func(*person) { return func(p *person) { p.types(s) } }
	for _, tt := range []struct {
		name string
		end  func(*person)
		code int
	}{
		{"power off", keys(string(gb.EchoOff)), 0},
		{"reboot", keys(string(gb.EchoReset)), 0},
		{"crash", keys(string(gb.EchoCrash)), 125},
		{"escape", keys("\x01x"), 125},
		{"SIGINT", signal(unix.SIGINT), 128 + 2},
		{"SIGQUIT", signal(unix.SIGQUIT), 128 + 3},
		{"SIGTERM", signal(unix.SIGTERM), 128 + 15},
		{"SIGHUP", signal(unix.SIGHUP), 128 + 1},
		{"terminal closed", func(p *person) { must(p, p.master.Close()) }, 128 + 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := sit(t, nil)
			tt.end(p)
			p.ended(tt.code)
		})
	}
}

// With --exit-with-parent the terminal is given back after the parent is killed.
// The session's leader outlives both, as its death would hang the terminal up.
func TestTerminalAfterKilledParent(t *testing.T) {
	const leader = `exec 3<&0; sh -c '"$0" "$@"; true' "$0" "$@" <&3 & echo "parent $!."; wait; read line`
	p := sit(t, func(child *exec.Cmd) *exec.Cmd {
		sh := exec.Command("sh", append([]string{"-c", leader}, child.Args...)...)
		sh.Env, sh.SysProcAttr, sh.Stdin, sh.Stdout, sh.Stderr = child.Env, child.SysProcAttr, child.Stdin, child.Stdout, child.Stderr
		return sh
	}, "--exit-with-parent")
	var parent int
	_, said, _ := strings.Cut(p.shown.String(), "parent ")
	_, err := fmt.Sscanf(said, "%d.", &parent)
	must(t, err)
	must(t, syscall.Kill(parent, syscall.SIGKILL))
	for end := time.Now().Add(patience); len(p.box.left(t, p.cmd.Process.Pid)) > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("left after the parent's death: %q", p.box.left(t, p.cmd.Process.Pid))
		}
	}
	p.givenBack()
	p.types("\n")
	p.ended(0)
}

// A pipe's bytes all go to the guest, the escape key's as well. A guest whose
// output nobody reads any more ends.
func TestPipedKeys(t *testing.T) {
	b := newBox(t, gb.Echo)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := b.command(ctx, "--local", "--mem", "64M")
	keys, typed, err := os.Pipe()
	must(t, err)
	shown, out, err := os.Pipe()
	must(t, err)
	cmd.Stdin, cmd.Stdout = keys, out
	must(t, cmd.Start())
	keys.Close()
	out.Close()
	io.WriteString(typed, "a\x01x\x03")
	got := make([]byte, len("A!X#"))
	if _, err := io.ReadFull(shown, got); err != nil || string(got) != "A!X#" {
		t.Errorf("the guest saw %q: %v", got, err)
	}
	must(t, shown.Close())
	must(t, typed.Close()) // an end-of-file key, to which the guest answers
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 128+13 {
		t.Errorf("exit status %d, want 141", got)
	}
	b.clean(t, "the command", cmd.Process.Pid)
}

// A terminal is left alone when the output goes elsewhere: Ctrl-C is a signal.
func TestTerminalWithOutputElsewhere(t *testing.T) {
	b := newBox(t, gb.Echo)
	master, slave, err := pty.Open(cols, rows)
	must(t, err)
	defer master.Close()
	defer slave.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := b.command(ctx, "--local", "--mem", "64M")
	cmd.Stdin, cmd.SysProcAttr.Setctty = slave, true
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	io.WriteString(master, "ab\n")
	got := make([]byte, len("AB*"))
	if _, err := io.ReadFull(out, got); err != nil || string(got) != "AB*" {
		t.Errorf("the guest saw %q: %v", got, err)
	}
	io.WriteString(master, "\x03")
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 128+2 {
		t.Errorf("exit status %d, want 130", got)
	}
	b.clean(t, "the command", cmd.Process.Pid)
}

// An output that nobody reads keeps no guest alive that was told to end.
func TestUnreadOutput(t *testing.T) {
	b := newBox(t, gb.Echo)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := b.command(ctx, "--local", "--mem", "64M")
	keys, typed, err := os.Pipe()
	must(t, err)
	defer keys.Close()
	defer typed.Close()
	shown, out, err := os.Pipe()
	must(t, err)
	defer shown.Close()
	must(t, out.SetWriteDeadline(time.Now().Add(10*time.Millisecond)))
	if _, err := out.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the pipe is not full: %v", err)
	}
	cmd.Stdin, cmd.Stdout = keys, out
	must(t, cmd.Start())
	out.Close()
	for range 3 { // a key is taken when the guest has answered the one before
		io.WriteString(typed, "a")
		taken(t, keys)
	}
	must(t, cmd.Process.Signal(unix.SIGTERM))
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 128+15 {
		t.Errorf("exit status %d, want 143", got)
	}
	b.clean(t, "the command", cmd.Process.Pid)
}

// taken waits until a pipe is empty.
func taken(t *testing.T, pipe *os.File) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if n, err := unix.IoctlGetInt(int(pipe.Fd()), unix.TIOCINQ); err != nil || n == 0 {
			must(t, err)
			return
		}
	}
	t.Fatal("the guest takes no keys")
}
