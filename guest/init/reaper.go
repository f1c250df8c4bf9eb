//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper is the one waiter for processes: every one that lost its parent
// becomes this process's child, and is to be waited for among those that were
// started. A process is registered before it can be reaped, and a number is
// free for another one only after its registration is gone.
type reaper struct {
	mu      sync.Mutex
	started map[int]*process // not reaped yet; guarded by mu
}

// process is one that was started here.
type process struct {
	reaper *reaper
	pid    int
	ended  chan unix.WaitStatus // gets one
}

func newReaper() *reaper { return &reaper{started: map[int]*process{}} }

// start has fork start a process.
func (r *reaper) start(fork func() (pid int, err error)) (*process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := fork()
	if err != nil {
		return nil, err
	}
	p := &process{r, pid, make(chan unix.WaitStatus, 1)}
	r.started[pid] = p
	return p, nil
}

// signal sends a signal to the process, or its whole group, unless it has
// ended.
func (p *process) signal(sig unix.Signal, group bool) {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.reaper.started[p.pid] != p {
		return
	}
	to := p.pid
	if group {
		to = -to
	}
	if err := unix.Kill(to, sig); err != nil {
		logf("send process %d signal %d: %v", p.pid, sig, err)
	}
}

// until reaps until p has ended, and says how.
func (r *reaper) until(p *process) (unix.WaitStatus, error) {
	for {
		select {
		case status := <-p.ended:
			return status, nil
		default:
		}
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil) // only waits
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0, fmt.Errorf("wait for processes: %w", err)
		}
		r.collect()
	}
}

// collect reaps what has ended, and tells whether no child is left.
func (r *reaper) collect() (none bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return errors.Is(err, unix.ECHILD)
		case pid == 0:
			return false
		default:
			if p := r.started[pid]; p != nil {
				delete(r.started, pid)
				p.ended <- status
			}
		}
	}
}
