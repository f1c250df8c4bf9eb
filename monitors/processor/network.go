package processor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// networkPath is where VMMs join their networks; empty: there are none.
func (m *monitor) networkPath() string {
	if m.cfg.Network == nil {
		return ""
	}
	return filepath.Join(m.cfg.Dir, "network.sock")
}

// keepNetwork has the process of the host's networks run until ctx ends, and leaves
// it to the next monitor of this folder if vNodes still run.
func (m *monitor) keepNetwork(ctx context.Context) {
	if m.cfg.Network == nil {
		return
	}
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longPause) {
		begin := time.Now()
		if err := m.superviseNetwork(ctx); err != nil && ctx.Err() == nil {
			m.log.Error("the vNodes' networks: starting them again", "err", err)
		}
		if time.Since(begin) > longPause {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// Pauses before a process of the networks that has ended is started again.
const (
	firstPause = 20 * time.Millisecond
	longPause  = 5 * time.Second
)

// superviseNetwork finds or starts the process and returns when it, or ctx, has
// ended.
func (m *monitor) superviseNetwork(ctx context.Context) error {
	mark := markNetwork + m.cfg.Dir
	p, err := findProcess(mark, "monitor")
	if err != nil {
		return err
	}
	var child *exec.Cmd // nil if an earlier monitor started it
	if p == nil {
		if p, child, err = m.startNetwork(mark); err != nil {
			return err
		}
	}
	m.log.Info("networks", "pid", p.pid, "adopted", child == nil)
	defer p.close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if p.wait() == nil && child != nil {
			child.Wait()
		}
	}()
	select {
	case <-ended:
		return fmt.Errorf("process %d ended: see %s", p.pid, m.networkLog())
	case <-ctx.Done():
		m.leaveNetwork(p, ended)
		return nil
	}
}

func (m *monitor) networkLog() string { return filepath.Join(m.cfg.Dir, "network.log") }

func (m *monitor) startNetwork(mark string) (*process, *exec.Cmd, error) {
	log, err := os.OpenFile(m.networkLog(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	c := m.cfg.Network(m.networkPath())
	c.Stdout, c.Stderr = log, log
	c.Env = append(os.Environ(), mark)
	c.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return nil, nil, err
	}
	p, err := openProcess(c.Process.Pid)
	if err != nil {
		return nil, nil, errors.Join(err, c.Process.Kill(), c.Wait())
	}
	return p, c, nil
}

// leaveNetwork ends the process, unless there are runs that need it.
func (m *monitor) leaveNetwork(p *process, ended <-chan struct{}) {
	m.mu.Lock()
	needed := len(m.runs) > 0
	m.mu.Unlock()
	if needed {
		return
	}
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		p.signal(s)
		select {
		case <-ended:
			return
		case <-time.After(m.cfg.Grace):
		}
	}
}
