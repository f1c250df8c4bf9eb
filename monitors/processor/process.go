package processor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process is a VMM's, ours or one that an earlier monitor started.
type process struct {
	pid  int
	file *os.File // a pidfd in the runtime's poller
}

// openProcess takes hold of a process that is known to be there.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &process{pid: pid, file: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// wait returns nil when the process has ended, an error after close.
func (p *process) wait() error {
	c, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	return c.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n > 0
	})
}

// signal sends a signal; one that has ended already is no error.
func (p *process) signal(s unix.Signal) error {
	c, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := c.Control(func(fd uintptr) { serr = unix.PidfdSendSignal(int(fd), s, nil, 0) }); err != nil {
		return err
	}
	if errors.Is(serr, unix.ESRCH) {
		return nil
	}
	return serr
}

func (p *process) close() { p.file.Close() }

// Environment variables by which a monitor finds the VMM of a run, and the
// process of the networks of its folder.
const (
	markVNode   = "SPLITVM_VNODE="
	markNetwork = "SPLITVM_NETWORK="
)

// findProcess looks for the process that was started with a mark and a first
// argument; nil if there is none. Pagers inherit the mark, but their first argument differs.
func findProcess(mark, argument string) (*process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || !marked(pid, mark, argument) {
			continue
		}
		p, err := openProcess(pid)
		if err != nil {
			continue // has just ended
		}
		if marked(pid, mark, argument) { // the pidfd is of the one that was looked at
			return p, nil
		}
		p.close()
	}
	return nil, nil
}

func marked(pid int, mark, argument string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || !bytes.Contains(append([]byte{0}, env...), []byte("\x00"+mark+"\x00")) {
		return false
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	words := strings.Split(string(args), "\x00")
	return err == nil && len(words) > 1 && words[1] == argument
}
