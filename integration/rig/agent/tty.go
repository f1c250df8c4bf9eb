package agent

import (
	"io"

	"splitvm/integration/pty"
	"splitvm/integration/rig/link"
)

// execTTY runs a command on a terminal of its own.
func (s *session) execTTY(c link.Command) link.Status {
	master, slave, err := pty.Open(c.TTY.Cols, c.TTY.Rows)
	if err != nil {
		return link.Status{Code: -1, Error: err.Error()}
	}
	defer master.Close() // again, which does no harm
	cmd := command(c)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setctty = true // of descriptor 0 in the child
	err = cmd.Start()
	slave.Close()
	if err != nil {
		return link.Status{Code: -1, Error: err.Error()}
	}
	s.setProcess(cmd.Process.Pid, master)
	typed := make(chan struct{})
	go func() {
		defer close(typed)
		_, _ = io.Copy(master, s.input)
		s.input.abandon()
	}()
	shown := make(chan struct{})
	go func() { // ends with an error when no process has the terminal
		_, _ = io.Copy(s.out.Stream(link.Stdout, s.id), master)
		close(shown)
	}()
	err = cmd.Wait()
	<-shown // the end of a session's leader hangs its terminal up, whoever has it
	s.setProcess(0, nil)
	master.Close()    // ends a Write to it
	s.input.abandon() // and a Read
	<-typed
	return status(cmd, err)
}

// resize tells the command's terminal its size.
func (s *session) resize(size link.Size) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty == nil {
		return
	}
	_ = pty.Resize(s.tty, size.Cols, size.Rows) // a size is no reason to fail
}
