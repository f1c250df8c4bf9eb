//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/agent"
)

var noDeadline, longAgo = time.Time{}, time.Unix(1, 0)

// execStreams are both ends of the streams of a command of the host's: pipes,
// or a pseudoterminal.
type execStreams struct {
	in       *os.File
	outputs  []output
	child    [3]*os.File // the command's; may be the same several times
	terminal bool
}

// output is a stream that the host gets.
type output struct {
	file  *os.File
	frame agent.Type
}

func openExecStreams(tty bool, size agent.Size, who account) (*execStreams, error) {
	if tty {
		return openTerminal(size, who)
	}
	return openPipes()
}

func openPipes() (*execStreams, error) {
	var files []*os.File
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, fmt.Errorf("make a pipe: %w", err)
		}
		files = append(files, r, w)
	}
	return &execStreams{
		in: files[1], child: [3]*os.File{files[0], files[3], files[5]},
		outputs: []output{{files[2], agent.Stdout}, {files[4], agent.Stderr}},
	}, nil
}

// openTerminal makes a pseudoterminal that belongs to who (pts(4)).
func openTerminal(size agent.Size, who account) (*execStreams, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	var number int
	err = control(master, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		}
		return err
	})
	var slave *os.File
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	if err := slave.Chown(int(who.uid), -1); err != nil {
		logf("give a terminal to %s: %v", who.name, err)
	}
	s := &execStreams{in: master, child: [3]*os.File{slave, slave, slave}, outputs: []output{{master, agent.Stdout}}, terminal: true}
	s.resize(size)
	return s, nil
}

// control calls f with a file's descriptor, which stays in the poller.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	ctlErr := raw.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(ctlErr, err)
}

func (s *execStreams) childFDs() []uintptr {
	return []uintptr{s.child[0].Fd(), s.child[1].Fd(), s.child[2].Fd()}
}

// closeChild closes this process's copies of the command's ends.
func (s *execStreams) closeChild() {
	for _, f := range s.child {
		f.Close() // twice, if it is there twice: the second does nothing
	}
}

// close closes this process's ends: the command's reads end, its writes fail,
// and a terminal hangs up.
func (s *execStreams) close() {
	s.in.Close()
	for _, o := range s.outputs {
		o.file.Close()
	}
}

// resize changes the terminal's size, of which the kernel tells its processes.
func (s *execStreams) resize(size agent.Size) {
	if !s.terminal || size.Cols == 0 || size.Rows == 0 {
		return
	}
	err := control(s.in, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: size.Cols, Row: size.Rows})
	})
	if err != nil {
		logf("resize a terminal: %v", err)
	}
}

const endOfFile = 4 // Ctrl-D, which ends the input of a terminal in cooked mode

// endInput is the end of the command's input.
func (s *execStreams) endInput() {
	if s.terminal {
		s.in.Write([]byte{endOfFile})
		return
	}
	s.in.Close()
}

// stopOutputs ends reads that wait for more.
func (s *execStreams) stopOutputs() {
	for _, o := range s.outputs {
		if err := o.file.SetReadDeadline(longAgo); err != nil {
			logf("end the reading of an output: %v", err)
		}
	}
}
