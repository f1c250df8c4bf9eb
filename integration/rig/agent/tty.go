package agent

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"splitvm/integration/rig/link"
)

// execTTY runs a command on a terminal of its own.
func (s *session) execTTY(c link.Command) link.Status {
	master, slave, err := openTTY(*c.TTY)
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

func openTTY(size link.Size) (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	n, err := ptyNumber(master, size)
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	return master, slave, nil
}

// ptyNumber unlocks the other side of a terminal and tells its number (pts(4)).
func ptyNumber(master *os.File, size link.Size) (n int, err error) {
	raw, err := master.SyscallConn()
	if err != nil {
		return 0, err
	}
	ctlErr := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		if err = setSize(fd, size); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if ctlErr != nil {
		return 0, ctlErr
	}
	return n, err
}

func setSize(fd uintptr, size link.Size) error {
	return unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
}

// resize tells the command's terminal its size.
func (s *session) resize(size link.Size) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty == nil {
		return
	}
	if raw, err := s.tty.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = setSize(fd, size) }) // a size is no reason to fail
	}
}
