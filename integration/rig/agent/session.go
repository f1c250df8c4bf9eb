package main

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

// An agent has the sessions that are running.
type agent struct {
	out      *link.Writer
	mu       sync.Mutex
	sessions map[link.SessionID]*session // guarded by mu
}

// A session is one command's life.
type session struct {
	id    link.SessionID
	out   *link.Writer
	input *inbox
	mu    sync.Mutex
	pid   int      // guarded by mu; 0 before and after the process is there
	tty   *os.File // guarded by mu; the terminal's controlling side, or nil
}

func (a *agent) session(id link.SessionID) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sessions[id]
}

// start begins a session; its goroutine ends it.
func (a *agent) start(id link.SessionID, c link.Command) {
	s := &session{id: id, out: a.out, input: newInbox(func(n int) error { return a.taken(id, n) })}
	a.mu.Lock()
	a.sessions[id] = s
	a.mu.Unlock()
	go func() {
		status := s.run(c)
		s.input.abandon()
		a.mu.Lock()
		delete(a.sessions, id)
		a.mu.Unlock()
		// A link that fails ends the agent's main loop as well.
		_ = a.out.SendJSON(link.Exit, id, status)
	}()
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
	s.setPid(cmd.Process.Pid)
	go func() { // ends when the input does, or the command, which abandons it
		_, _ = io.Copy(stdin, s.input) // what the command doesn't read is lost, as in a shell
		stdin.Close()
		s.input.abandon()
	}()
	err = cmd.Wait()
	s.setPid(0)
	return status(cmd, err)
}

func (s *session) setPid(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid = pid
}

// signal sends a signal to the command's process group.
func (s *session) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid != 0 {
		_ = syscall.Kill(-s.pid, sig) // fails only when nobody is left
	}
	if sig == syscall.SIGKILL {
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
