package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"splitvm/integration/rig/link"
)

// A Machine is an L1 machine that runs.
type Machine struct {
	Hello    link.HelloInfo // what it told of itself; immutable after Start
	BootTime time.Duration  // from QEMU's start to Hello; immutable after Start
	BootCPU  time.Duration  // the CPU time that QEMU spent on it, which a busy machine changes less

	vm       *emulator
	link     *os.File
	out      *link.Writer
	console  *ring
	lastSign atomic.Int64        // when the last frame came, Unix nanoseconds
	up       chan link.HelloInfo // gets one
	greeted  bool                // it has; for read alone
	dead     chan struct{}       // closed by fail
	workers  sync.WaitGroup      // read, show, watch, beat
	closing  sync.Once
	unbind   func() bool // from the context of Start
	syncs    bool        // whether Close has disks to sync; immutable
	syncErr  error       // of Close; set in closing

	mu       sync.Mutex
	cause    error                       // guarded by mu; set before dead is closed
	sessions map[link.SessionID]*session // guarded by mu
	next     link.SessionID              // guarded by mu
}

// errClosed is the end of a machine that was told to end.
var errClosed = errors.New("rig: the machine was closed")

// ErrMachine is the end of a machine that nobody asked for: it crashed, hung or
// lost its link. What was run in it may be all right, so it is worth another one.
var ErrMachine = errors.New("the machine failed")

// beatEvery is how often the machine gets an interrupt from here. QEMU's emulation
// of nested SVM changes the pending interrupts of a processor without a lock
// (do_vmexit, helper_vmrun; 10.0), and so loses one of its timer's now and then.
// An idle kernel without another processor would then sleep for ever.
const beatEvery = time.Second

// powerOffLimit is how long a machine may take to sync its disks and power off.
const powerOffLimit = 2 * time.Minute

// newMachine takes over the emulator and the host's ends of link and console.
func newMachine(vm *emulator, port, console *os.File, show io.Writer, hang time.Duration, syncs bool) *Machine {
	m := &Machine{
		vm: vm, syncs: syncs, unbind: func() bool { return true }, link: port, out: link.NewWriter(port), console: newRing(64 << 10),
		up: make(chan link.HelloInfo, 1), dead: make(chan struct{}),
		sessions: make(map[link.SessionID]*session), next: 1,
	}
	m.lastSign.Store(time.Now().UnixNano())
	m.workers.Go(m.read)
	m.workers.Go(func() {
		defer console.Close()
		_, _ = io.Copy(io.MultiWriter(m.console, show), console) // ends with QEMU
	})
	m.workers.Go(func() { m.watch(hang) })
	m.workers.Go(m.beat)
	return m
}

// Times tells how long booting took.
func (m *Machine) Times() string {
	return fmt.Sprintf("%.2f s, %.2f s of CPU time, up %.2f s by its own clock", m.BootTime.Seconds(), m.BootCPU.Seconds(), m.Hello.Uptime)
}

// read hands on what comes through the link, until it ends.
func (m *Machine) read() {
	in := link.NewReader(m.link)
	for {
		f, err := in.Next()
		if err == nil {
			m.lastSign.Store(time.Now().UnixNano())
			err = m.handle(f)
		}
		if err != nil {
			m.fail(fmt.Errorf("the machine is gone: %w", err))
			return
		}
	}
}

func (m *Machine) handle(f link.Frame) error {
	switch f.Kind {
	case link.Beat:
		return nil
	case link.Hello:
		var info link.HelloInfo
		if err := f.Decode(&info); err != nil {
			return err
		}
		if m.greeted {
			return fmt.Errorf("%w: a second hello", link.ErrStep)
		}
		m.greeted = true
		m.up <- info
		return nil
	}
	m.mu.Lock()
	s := m.sessions[f.Session]
	m.mu.Unlock()
	if s == nil {
		return nil // of a command that was given up
	}
	return s.handle(f)
}

// watch fails the machine when it gives no sign of life for too long.
func (m *Machine) watch(hang time.Duration) {
	tick := time.NewTicker(hang / 8)
	defer tick.Stop()
	for {
		select {
		case <-m.dead:
			return
		case <-m.vm.exited:
			m.fail(errors.New("QEMU has ended"))
			return
		case <-tick.C:
			if silent := time.Since(time.Unix(0, m.lastSign.Load())); silent > hang {
				m.fail(fmt.Errorf("the machine hangs: no sign of life for %v", silent.Round(time.Second)))
			}
		}
	}
}

// beat sends the machine a frame now and then, for the sake of its interrupt.
func (m *Machine) beat() {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for m.out.Send(link.Frame{Kind: link.Beat}) == nil {
		select {
		case <-m.dead:
			return
		case <-tick.C:
		}
	}
}

// waitUp waits for the agent's hello.
func (m *Machine) waitUp(ctx context.Context, limit time.Duration) error {
	select {
	case m.Hello = <-m.up:
		return nil
	case <-m.dead:
		return m.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(limit):
		m.fail(fmt.Errorf("the machine was not up after %v", limit))
		return m.Err()
	}
}

// fail ends the machine because of what happened to it.
func (m *Machine) fail(cause error) { m.stop(fmt.Errorf("%w: %w", ErrMachine, cause)) }

// stop ends the machine for a reason; the first one counts.
func (m *Machine) stop(cause error) {
	if m.begin(cause) {
		m.end()
	}
}

// begin sets the reason for the machine's end and tells whether it is the first,
// whose giver must call end.
func (m *Machine) begin(cause error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.cause == nil
	if first {
		m.cause = cause
	}
	return first
}

func (m *Machine) end() {
	m.vm.kill()
	close(m.dead)
}

// Err returns why the machine ended, with the end of its console: an ErrMachine or
// the cause of its context's end; nil while it runs and after a Close of a running one.
func (m *Machine) Err() error {
	select {
	case <-m.dead:
	default:
		return nil
	}
	m.mu.Lock()
	cause := m.cause
	m.mu.Unlock()
	if errors.Is(cause, errClosed) {
		return nil
	}
	<-m.vm.exited // its last words are in
	return fmt.Errorf("rig: %w\nQEMU: %v %s\nEnd of the machine's console:\n%s", cause, m.vm.err, m.vm.said.lines(10), m.console.lines(80))
}

// Close ends the machine, waits for the emulator's end and returns what Err does.
// Disks that the caller gave to be written are synced before; a machine that
// can't do so any more is an error. It may be called again.
func (m *Machine) Close() error {
	m.closing.Do(func() {
		m.unbind()
		if m.begin(errClosed) {
			if m.syncs {
				m.syncErr = m.powerOff()
			}
			m.end()
		}
		<-m.vm.exited
		m.link.Close()
		m.workers.Wait()
	})
	return errors.Join(m.syncErr, m.Err())
}

// powerOff lets the machine write back its disks and end by itself.
func (m *Machine) powerOff() error {
	err := m.out.Send(link.Frame{Kind: link.PowerOff})
	if err != nil {
		return fmt.Errorf("rig: power off: %w", err)
	}
	select {
	case <-m.vm.exited:
		return nil
	case <-time.After(powerOffLimit):
		return fmt.Errorf("rig: the machine did not power off within %v and was killed: its disks may lack what was written last", powerOffLimit)
	}
}
