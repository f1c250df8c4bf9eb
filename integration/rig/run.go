package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"splitvm/integration/rig/link"
)

// A Cmd is a command to run in the machine.
type Cmd struct {
	Args           []string
	Env            []string   // NAME=value, added to PATH, HOME, TMPDIR and TERM
	Dir            string     // "" is /
	Stdin          io.Reader  // nil is at its end; Run doesn't wait for a Read that is under way
	Stdout, Stderr io.Writer  // nil drops it. A slow writer holds up the whole link
	TTY            *link.Size // where set, the command has a terminal; Stderr gets nothing
	Resize         <-chan link.Size

	pull, push string
}

// An ExitError is the end of a command that wasn't success.
type ExitError struct {
	What string // the command
	link.Status
}

func (e *ExitError) Error() string {
	switch {
	case e.Status.Error != "":
		return fmt.Sprintf("rig: %s: %s", e.What, e.Status.Error)
	case e.Signal != 0:
		return fmt.Sprintf("rig: %s: killed by signal %d (%v)", e.What, e.Signal, syscall.Signal(e.Signal))
	}
	return fmt.Sprintf("rig: %s: exit status %d", e.What, e.Code)
}

// Shell returns the command that runs a script in the machine's shell.
func Shell(script string) Cmd { return Cmd{Args: []string{"/bin/sh", "-c", script}} }

// killDelay is how long the end of a killed command is waited for.
const killDelay = 10 * time.Second

// A session is a command that runs.
type session struct {
	m      *Machine
	id     link.SessionID
	cmd    Cmd
	exited chan link.Status // gets one

	writing sync.Mutex // held while the caller's writers are called; before mu

	mu     sync.Mutex
	cond   sync.Cond
	ahead  int   // guarded by mu; bytes of input that were sent and not taken
	ended  bool  // guarded by mu
	broken error // guarded by mu; the first error of the caller's writers
}

// Run runs a command and waits for its end and all of its output. Errors:
// *ExitError where the command itself failed; ctx's when it is done, after the
// command was killed; the machine's own, with the end of its console.
func (m *Machine) Run(ctx context.Context, cmd Cmd) error {
	s := m.newSession(cmd)
	defer m.endSession(s)
	c := link.Command{Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, TTY: cmd.TTY, Pull: cmd.pull, Push: cmd.push}
	if err := m.out.SendJSON(link.Start, s.id, c); err != nil {
		return s.gone(err)
	}
	go s.sendInput() // ends with the input, or with the first Read after the session
	for {
		select {
		case size := <-cmd.Resize:
			_ = m.out.SendJSON(link.Resize, s.id, size) // a link that fails ends the machine
		case status := <-s.exited:
			return s.result(status)
		case <-m.dead:
			return s.gone(errClosed)
		case <-ctx.Done():
			return s.killed(ctx)
		}
	}
}

func (m *Machine) newSession(cmd Cmd) *session {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &session{m: m, id: m.next, cmd: cmd, exited: make(chan link.Status, 1)}
	s.cond.L = &s.mu
	m.next++
	m.sessions[s.id] = s
	return s
}

func (m *Machine) endSession(s *session) {
	m.mu.Lock()
	delete(m.sessions, s.id)
	m.mu.Unlock()
	s.writing.Lock() // the caller may do as it likes with its writers afterwards
	defer s.writing.Unlock()
	s.mu.Lock()
	s.ended = true
	s.cond.Broadcast()
	s.mu.Unlock()
}

// what names the command in errors.
func (s *session) what() string {
	switch {
	case s.cmd.pull != "":
		return "pull " + s.cmd.pull
	case s.cmd.push != "":
		return "push to " + s.cmd.push
	}
	return strings.Join(s.cmd.Args, " ")
}

func (s *session) result(status link.Status) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if status.Code == 0 {
		return s.broken
	}
	return errors.Join(&ExitError{s.what(), status}, s.broken)
}

// gone is the error of a command whose machine is.
func (s *session) gone(err error) error {
	if own := s.m.Err(); own != nil {
		err = own
	}
	return fmt.Errorf("rig: run %s: %w", s.what(), err)
}

// killed kills the command and waits for its end.
func (s *session) killed(ctx context.Context) error {
	err := fmt.Errorf("rig: %s: %w", s.what(), context.Cause(ctx))
	if s.m.out.Send(link.Frame{Kind: link.Signal, Session: s.id, Payload: []byte{byte(syscall.SIGKILL)}}) != nil {
		return err
	}
	select {
	case <-s.exited:
	case <-s.m.dead:
	case <-time.After(killDelay):
		err = fmt.Errorf("%w (and it did not end when it was killed)", err)
	}
	return err
}

// handle takes a frame from the machine; called by the link's reader.
func (s *session) handle(f link.Frame) error {
	switch f.Kind {
	case link.Stdout:
		s.write(s.cmd.Stdout, f.Payload)
	case link.Stderr:
		s.write(s.cmd.Stderr, f.Payload)
	case link.Taken:
		n, err := f.Uint32()
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.ahead -= int(n)
		s.cond.Broadcast()
		s.mu.Unlock()
	case link.Exit:
		var status link.Status
		if err := f.Decode(&status); err != nil {
			return err
		}
		select {
		case s.exited <- status:
		default:
			return fmt.Errorf("%w: a command that ended twice", link.ErrStep)
		}
	default:
		return fmt.Errorf("%w: the agent sent a frame of kind %d", link.ErrStep, f.Kind)
	}
	return nil
}

// write passes output on; after an error of the writer the rest is dropped.
func (s *session) write(w io.Writer, p []byte) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	drop := w == nil || s.broken != nil || s.ended
	s.mu.Unlock()
	if drop {
		return
	}
	if _, err := w.Write(p); err != nil {
		s.mu.Lock()
		s.broken = fmt.Errorf("output of %s: %w", s.what(), err)
		s.mu.Unlock()
	}
}

// sendInput sends the input, keeping to the link's window.
func (s *session) sendInput() {
	buf := make([]byte, 32<<10)
	for s.cmd.Stdin != nil {
		n, err := s.cmd.Stdin.Read(buf)
		if n > 0 && !s.sendSome(buf[:n]) {
			return
		}
		if err != nil {
			break
		}
	}
	_ = s.m.out.Send(link.Frame{Kind: link.Stdin, Session: s.id}) // a link that fails ends the machine
}

func (s *session) sendSome(p []byte) bool {
	s.mu.Lock()
	for s.ahead+len(p) > link.Window && !s.ended {
		s.cond.Wait()
	}
	s.ahead += len(p)
	ended := s.ended
	s.mu.Unlock()
	return !ended && s.m.out.Send(link.Frame{Kind: link.Stdin, Session: s.id, Payload: p}) == nil
}
