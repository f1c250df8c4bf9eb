package agent

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"splitvm/integration/rig/archive"
	"splitvm/integration/rig/link"
)

// outputDelay is how long a command's output is waited for after its end, when a
// process that it left behind holds it open.
const outputDelay = 2 * time.Second

// A session is one command's life.
type session struct {
	id    link.SessionID
	out   *link.Writer
	input *inbox

	mu     sync.Mutex
	pid    int      // guarded by mu; 0 before and after the process is there
	killed bool     // guarded by mu; a process that starts is to be killed
	tty    *os.File // guarded by mu; the terminal's controlling side, or nil
}

func (s *session) run(c link.Command) link.Status {
	var err error
	switch {
	case c.Pull != "":
		err = archive.Write(s.out.Stream(link.Stdout, s.id), c.Pull)
	case c.Push != "":
		err = archive.Unpack(s.input, c.Push)
	case len(c.Args) == 0:
		err = errors.New("a command of no words")
	case c.TTY != nil:
		return s.execTTY(c)
	default:
		return s.exec(c)
	}
	if err != nil {
		return link.Status{Code: -1, Error: err.Error()}
	}
	return link.Status{}
}

func command(c link.Command) *exec.Cmd {
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	if cmd.Dir = c.Dir; c.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = outputDelay
	return cmd
}

// exec runs a command on pipes.
func (s *session) exec(c link.Command) link.Status {
	cmd := command(c)
	cmd.Stdout, cmd.Stderr = s.out.Stream(link.Stdout, s.id), s.out.Stream(link.Stderr, s.id)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return link.Status{Code: -1, Error: err.Error()}
	}
	if err := cmd.Start(); err != nil {
		return link.Status{Code: -1, Error: err.Error()}
	}
	s.setProcess(cmd.Process.Pid, nil)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		_, _ = io.Copy(stdin, s.input) // what the command doesn't read is lost, as in a shell
		stdin.Close()
		s.input.abandon()
	}()
	err = cmd.Wait() // closes stdin, so a Write to it has ended
	s.setProcess(0, nil)
	s.input.abandon() // so has a Read
	<-fed
	return status(cmd, err)
}

// setProcess tells of the command's process and terminal, 0 and nil after them.
func (s *session) setProcess(pid int, tty *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid, s.tty = pid, tty
	if s.killed && pid != 0 {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// signal sends a signal to the command's process group.
func (s *session) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid != 0 {
		_ = syscall.Kill(-s.pid, sig) // fails only when nobody is left
	}
	if sig == syscall.SIGKILL {
		s.killed = true
		s.input.abandon() // ends a push as well
	}
}

// status reads a command's end.
func status(cmd *exec.Cmd, err error) link.Status {
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		return link.Status{Code: -1, Error: err.Error()}
	}
	if ws.Signaled() {
		return link.Status{Code: 128 + int(ws.Signal()), Signal: int(ws.Signal())}
	}
	return link.Status{Code: ws.ExitStatus()}
}
