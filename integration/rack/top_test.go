package rack

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"golang.org/x/sys/unix"

	"splitvm/integration/pty"
)

// person sits at a terminal of a given size.
type person struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	cmd    *exec.Cmd
	pumps  sync.WaitGroup

	mu     sync.Mutex
	screen *vt.Emulator // guarded by mu, but for what it answers
}

// Write is what the command writes to the terminal.
func (p *person) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.Write(b)
}

func (p *person) look() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String()
}

func (p *person) resize(cols, rows int) {
	p.t.Helper()
	if err := pty.Resize(p.master, uint16(cols), uint16(rows)); err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.screen.Resize(cols, rows)
}

// sits starts a command at a terminal.
func (r *rack) sits(t *testing.T, cols, rows int, args ...string) *person {
	t.Helper()
	master, slave, err := pty.Open(uint16(cols), uint16(rows))
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, master: master, slave: slave, screen: vt.NewEmulator(cols, rows), cmd: r.command(args...)}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.Env = append(p.cmd.Env, "TERM=xterm-256color")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pumps.Go(func() { io.Copy(p, master) })
	p.pumps.Go(func() { io.Copy(master, p.screen) }) // what a terminal answers
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		master.Close()
		slave.Close()
		p.screen.InputPipe().(io.Closer).Close()
		p.pumps.Wait()
	})
	return p
}

func (p *person) types(keys string) {
	p.t.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits until the screen is as ok says.
func (p *person) sees(what string, ok func(screen string) bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !ok(p.look()); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("not on the screen after %v: %s\n%s", patience, what, p.look())
		}
	}
}

func (p *person) reads(text string) {
	p.t.Helper()
	p.sees(fmt.Sprintf("%q", text), func(s string) bool { return strings.Contains(s, text) })
}

// line is what the screen says of a name.
func line(screen, name string) []string {
	for l := range strings.Lines(screen) {
		if f := strings.Fields(l); len(f) > 0 && f[0] == name {
			return f
		}
	}
	return nil
}

// Somebody watches two vNodes that miss in their caches, sorts and pauses, looks at one,
// makes the window smaller, and leaves the terminal as it was.
func TestTop(t *testing.T) {
	r := up(t)
	for _, name := range []string{"v", "w"} {
		r.must(append(small(name, 1<<40), "--detach")...)
	}
	p := r.sits(t, 160, 30, "top", "--interval", "200ms")
	before, err := pty.Modes(p.slave)
	if err != nil {
		t.Fatal(err)
	}
	p.sees("both vNodes miss", func(s string) bool {
		v, w := line(s, "v"), line(s, "w")
		return len(v) > 7 && len(w) > 7 && v[5] != "-" && v[5] != "0" && w[5] != "-" && w[5] != "0" && v[4] != "-"
	})
	p.sees("the monitors", func(s string) bool { return line(s, "memory-1") != nil && line(s, "storage-1") != nil })
	p.types("ss")
	p.reads("by miss/s")
	p.types("p")
	p.reads("[paused]")
	p.types("p")
	p.types("\r")
	p.reads("memory at")
	p.resize(70, 20)
	p.types("\x1b")
	p.sees("a list without what does not fit", func(s string) bool {
		return strings.Contains(s, "MISS/S") && !strings.Contains(s, "FETCH/S") && strings.Contains(s, "quit")
	})
	r.must("stop", "w")
	r.must("rm", "w")
	p.sees("one is gone", func(s string) bool { return line(s, "w") == nil && line(s, "v") != nil })
	p.types("q")
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if after, err := pty.Modes(p.slave); err != nil || after != before && after.Lflag&unix.ECHO == 0 {
		t.Errorf("the terminal is left as %+v, %v; it was %+v", after, err, before)
	}
	if out, err := r.try("top"); status(err) != 2 || !strings.Contains(out, "splitvm stats") {
		t.Errorf("without a terminal: %v, %s", err, out)
	}
	r.must("stop", "v")
	r.must("rm", "v")
	r.empty()
}
