package rig

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// An emulator is a QEMU process that dies with this one.
type emulator struct {
	kill   func()
	pid    int
	exited chan struct{} // closed after the process was waited for
	said   *ring         // the end of its standard error
	err    error         // how it ended; after exited
}

// startEmulator starts cmd with files as its descriptors from 3 on. The caller
// keeps the files and may close them at once.
func startEmulator(cmd *exec.Cmd, files []*os.File) (*emulator, error) {
	e := &emulator{exited: make(chan struct{}), said: newRing(8 << 10)}
	cmd.ExtraFiles = files
	cmd.Stdout, cmd.Stderr = e.said, e.said
	// Its own process group, so that a Ctrl-C on our terminal is ours alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the thread that forked ends,
		// so this thread stays until the process has.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		e.err = cmd.Wait()
		close(e.exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	e.pid = cmd.Process.Pid
	e.kill = func() { _ = cmd.Process.Kill() } // fails only when it has ended
	return e, nil
}

// cpuTime returns the CPU time of the process, while it is there (proc(5): fields
// 14 and 15 of stat, in ticks of 10 ms on this architecture).
func (e *emulator) cpuTime() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from field 3 on
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// A ring keeps the end of what is written to it; for any number of goroutines.
type ring struct {
	mu   sync.Mutex
	data []byte // guarded by mu; at most twice max
	max  int
}

func newRing(max int) *ring { return &ring{max: max} }

func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data = append(r.data, p[max(0, len(p)-r.max):]...)
	if len(r.data) > 2*r.max {
		r.data = append(r.data[:0], r.data[len(r.data)-r.max:]...)
	}
	return len(p), nil
}

// lines returns the last lines that were written.
func (r *ring) lines(n int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := strings.TrimSpace(string(bytes.ReplaceAll(r.data, []byte("\r"), nil)))
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
