// Package agent is the side of package link that runs commands: it starts them
// and carries their input, output and status. It runs in the rig's L1 machine,
// but knows nothing of it.
//
// Goroutines: Serve reads frames and never blocks on a command; each session has
// its own, which end with it; all have ended when Serve returns.
//
// Lock order: agent.mu, then a session's or an inbox's; nothing is written to the
// link under any of them.
package agent

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/integration/rig/link"
)

// beatEvery is how often the host is told that this machine lives.
const beatEvery = 2 * time.Second

// An agent has the sessions that are running.
type agent struct {
	out      *link.Writer
	powerOff func() error
	workers  sync.WaitGroup

	mu       sync.Mutex
	sessions map[link.SessionID]*session // guarded by mu
}

// Serve does what the host asks through port until it fails, or until the host
// asks to power off, which is done by powerOff after disks were synced. Commands
// that still run then are killed.
func Serve(port io.ReadWriter, powerOff func() error) error {
	a := &agent{out: link.NewWriter(port), powerOff: powerOff, sessions: make(map[link.SessionID]*session)}
	if err := a.out.SendJSON(link.Hello, 0, hello()); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	over := make(chan struct{})
	a.workers.Go(func() { a.beat(over) })
	err := a.serve(link.NewReader(port))
	close(over)
	a.killAll()
	a.workers.Wait()
	return err
}

func (a *agent) serve(in *link.Reader) error {
	for {
		f, err := in.Next()
		if err != nil {
			return fmt.Errorf("read a frame: %w", err)
		}
		if f.Kind == link.PowerOff {
			unix.Sync()
			return a.powerOff()
		}
		if err := a.handle(f); err != nil {
			return err
		}
	}
}

// hello is what this machine tells of itself.
func hello() link.HelloInfo {
	var name unix.Utsname
	_ = unix.Uname(&name) // fails for a bad pointer only
	info := link.HelloInfo{Kernel: string(name.Release[:bytes.IndexByte(name.Release[:], 0)])}
	if text, err := os.ReadFile("/proc/uptime"); err == nil {
		first, _, _ := strings.Cut(string(text), " ")
		info.Uptime, _ = strconv.ParseFloat(first, 64)
	}
	npt, err := os.ReadFile("/sys/module/kvm_amd/parameters/npt")
	if info.NPT = strings.TrimSpace(string(npt)); err != nil {
		info.NPT = err.Error()
	}
	return info
}

// beat tells the host that this machine lives.
func (a *agent) beat(over <-chan struct{}) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for a.out.Send(link.Frame{Kind: link.Beat}) == nil {
		select {
		case <-over:
			return
		case <-tick.C:
		}
	}
}

// handle does what one frame asks. An error ends Serve, and so the machine.
func (a *agent) handle(f link.Frame) error {
	switch f.Kind {
	case link.Beat: // all that it is for has happened: an interrupt
	case link.Start:
		var c link.Command
		if err := f.Decode(&c); err != nil {
			return err
		}
		return a.start(f.Session, c)
	case link.Stdin:
		if s := a.session(f.Session); s != nil {
			return s.input.put(f.Payload)
		}
	case link.Signal:
		if len(f.Payload) != 1 {
			return fmt.Errorf("%w: a signal of %d bytes", link.ErrStep, len(f.Payload))
		}
		if s := a.session(f.Session); s != nil {
			s.signal(syscall.Signal(f.Payload[0]))
		}
	case link.Resize:
		var size link.Size
		if err := f.Decode(&size); err != nil {
			return err
		}
		if s := a.session(f.Session); s != nil {
			s.resize(size)
		}
	default:
		return fmt.Errorf("%w: the host sent a frame of kind %d", link.ErrStep, f.Kind)
	}
	return nil
}

// taken tells the host that n bytes of a session's input were passed on.
func (a *agent) taken(s link.SessionID, n int) error {
	return a.out.Send(link.Frame{Kind: link.Taken, Session: s, Payload: binary.LittleEndian.AppendUint32(nil, uint32(n))})
}

func (a *agent) session(id link.SessionID) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sessions[id]
}

// start begins a session; its goroutine ends it.
func (a *agent) start(id link.SessionID, c link.Command) error {
	s := &session{id: id, out: a.out, input: newInbox(func(n int) error { return a.taken(id, n) })}
	a.mu.Lock()
	_, there := a.sessions[id]
	if !there {
		a.sessions[id] = s
	}
	a.mu.Unlock()
	if there {
		return fmt.Errorf("%w: session %d was started twice", link.ErrStep, id)
	}
	a.workers.Go(func() {
		status := s.run(c)
		s.input.abandon()
		a.mu.Lock()
		delete(a.sessions, id)
		a.mu.Unlock()
		_ = a.out.SendJSON(link.Exit, id, status) // a link that fails ends Serve
	})
	return nil
}

func (a *agent) killAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.sessions {
		s.signal(syscall.SIGKILL)
	}
}
