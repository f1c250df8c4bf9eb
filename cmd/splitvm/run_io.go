package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/init/cmdline"
	"splitvm/guest/init/report"
	"splitvm/vmm"
	"splitvm/vmm/pc"
	"splitvm/vmm/virtio/console"
)

// serialTail is how much of the serial port's output is kept to be shown when
// a guest dies.
const serialTail = 8 << 10

// powerOffTime is what a guest has to power off after its final message, by
// which its disks are synced.
const powerOffTime = 15 * time.Second

// guestIO joins the guest's consoles, streams and status to the user's.
type guestIO struct {
	term     *terminal
	command  bool      // a command was given, so a status is owed
	detached bool      // the console is for those that attach
	tail     *tail     // the last of the serial port
	serial   io.Writer // the serial port's output
	streams  *console.Device
	screen   *console.Device // nil unless a person types, here or by `splitvm console`
	written  *transcript     // what the command or the console wrote

	mu      sync.Mutex
	started bool            // guarded by mu; the command runs
	final   *report.Message // guarded by mu
	ended   chan struct{}   // closed when final is set

	stdout, stderr *outlet
	outlets        []*outlet // all of them

	broken    chan os.Signal // SIGPIPE, once nobody reads an outlet
	breakOnce sync.Once
}

// Ports of guestIO.streams.
const (
	statusPort = iota
	stdinPort
	stdoutPort
	stderrPort
)

// openIO makes the consoles. A person gets a terminal; a pipe, the command's
// streams as they are.
func (n *vnode) openIO(context.Context) error {
	g := &guestIO{command: len(n.o.command) > 0, detached: n.o.console, tail: &tail{max: serialTail}, ended: make(chan struct{}), broken: make(chan os.Signal, 1), written: newTranscript()}
	n.io = g
	n.onClose(g.written.close)
	g.serial = g.tail
	if n.o.serial != "" {
		f, err := os.OpenFile(n.o.serial, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return fmt.Errorf("serial port's output: %w", err)
		}
		n.onClose(f.Close)
		g.serial = io.MultiWriter(g.serial, g.outlet(&outlet{file: f}))
	}
	g.stdout, g.stderr = g.outlet(newOutlet(os.Stdout, g.brokenPipe)), g.outlet(newOutlet(os.Stderr, g.brokenPipe))
	n.onClose(g.closeOutlets)
	if n.o.verbose {
		g.serial = io.MultiWriter(g.serial, g.stderr)
	}
	signal.Ignore(unix.SIGPIPE) // an outlet's writes tell
	g.term = &terminal{in: os.Stdin}
	if !g.detached {
		term, err := openTerminal(os.Stdin, os.Stdout)
		if err != nil {
			return fmt.Errorf("put the terminal into raw mode: %w", err)
		}
		g.term = term
		n.onClose(term.close)
	}
	return g.open(n)
}

func (g *guestIO) open(n *vnode) error {
	streams, err := console.New(console.Config{Ports: []console.Port{
		statusPort: {Name: report.PortName, Output: &statusWriter{g: g}},
		stdinPort:  {Name: cmdline.StdinPort},
		stdoutPort: {Name: cmdline.StdoutPort, Output: io.MultiWriter(g.written, g.stdout)},
		stderrPort: {Name: cmdline.StderrPort, Output: io.MultiWriter(g.written, g.stderr)},
	}})
	if err != nil {
		return err
	}
	g.streams = streams
	n.onClose(streams.Close)
	n.devices = append(n.devices, streams)
	if g.command && !g.term.interactive() && !g.detached {
		return nil
	}
	cols, rows := g.term.size()
	g.screen, err = console.New(console.Config{Ports: []console.Port{{Console: true, Output: io.MultiWriter(g.written, g.stdout)}}, Cols: uint16(cols), Rows: uint16(rows)})
	if err != nil {
		return err
	}
	n.onClose(g.screen.Close)
	n.devices = append(n.devices, g.screen)
	return nil
}

func (g *guestIO) outlet(o *outlet) *outlet {
	g.outlets = append(g.outlets, o)
	return o
}

// hurry gives readers up that take nothing, once ctx is done: the guest has
// ended, and the user wants splitvm to end as well.
func (g *guestIO) hurry(ctx context.Context) {
	context.AfterFunc(ctx, func() {
		for _, o := range g.outlets {
			o.hurry()
		}
	})
}

// closeOutlets lets go of descriptions of our own.
func (g *guestIO) closeOutlets() error {
	return errors.Join(g.stdout.close(), g.stderr.close())
}

// brokenPipe ends the command as a writer to a pipe ends that nobody reads.
func (g *guestIO) brokenPipe() {
	g.breakOnce.Do(func() { g.broken <- unix.SIGPIPE })
}

// input is where what the user types goes.
func (g *guestIO) input() io.Writer {
	if g.screen != nil {
		return g.screen.Input(0)
	}
	return g.streams.Input(stdinPort)
}

// stdio is the same for the guest's init.
func (g *guestIO) stdio() cmdline.Stdio {
	if g.screen != nil {
		return "/dev/hvc0"
	}
	return cmdline.StdioPorts
}

// statusWriter takes what the guest's init reports.
type statusWriter struct {
	g       *guestIO
	scanner report.Scanner
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.scanner.Write(p, func(m report.Message, err error) {
		if err == nil { // a guest may write what it likes
			w.g.take(m)
		}
	})
	return len(p), nil
}

// ioPort takes the status of a guest whose init found no status port.
type ioPort struct{ g *guestIO }

func (ioPort) Read(_ uint64, p []byte) { clear(p) }

func (w ioPort) Write(off uint64, p []byte) {
	if off != 0 || len(p) != 2 {
		return
	}
	if m, err := report.DecodePort(binary.LittleEndian.Uint16(p)); err == nil {
		w.g.take(m)
	}
}

// take notes a message; after the final one there is nothing to say.
func (g *guestIO) take(m report.Message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.final != nil:
	case m.Final():
		g.final = &m
		close(g.ended)
	default:
		g.started = true
	}
}

// start begins to carry input and signals to the guest, and to watch for its
// last words. The function that it returns ends that.
func (g *guestIO) start(ctx context.Context, m *pc.Machine, withParent bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	if !g.detached {
		go g.term.pump(g.input(), g.closeInput, cancel)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGWINCH, unix.SIGCONT)
	if withParent {
		go watchParent(func() { cancel(errors.New("the parent process died")) })
	}
	var done sync.WaitGroup
	stop := make(chan struct{})
	done.Add(1)
	go func() {
		defer done.Done()
		g.watch(signals, stop, m, cancel)
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(stop)
		done.Wait()
		cancel(nil)
	}
}

// closeInput tells the command that its input has ended.
func (g *guestIO) closeInput() {
	if g.screen == nil {
		g.streams.CloseInput(stdinPort)
		return
	}
	g.screen.Input(0).Write([]byte{endOfFile})
}

func (g *guestIO) watch(signals <-chan os.Signal, stop <-chan struct{}, m *pc.Machine, cancel context.CancelCauseFunc) {
	ended := g.ended
	var late <-chan time.Time
	for {
		select {
		case <-stop:
			return
		case <-ended:
			ended, late = nil, time.After(powerOffTime)
		case <-late:
			cancel(errors.New("the guest did not power off after its last message"))
			return
		case s := <-g.broken:
			g.signal(s.(unix.Signal), cancel)
		case s := <-signals:
			g.signal(s.(unix.Signal), cancel)
		}
	}
}

// signalled is the cause of a guest's end by a signal to splitvm.
type signalled unix.Signal

func (s signalled) Error() string { return "ended by signal " + unix.Signal(s).String() }

// signal hands a signal to the command, once; the second, or one before the
// command runs, ends the guest.
func (g *guestIO) signal(s unix.Signal, cancel context.CancelCauseFunc) {
	switch s {
	case unix.SIGWINCH:
		g.resized()
		return
	case unix.SIGCONT:
		g.term.resume()
		g.resized()
		return
	}
	g.mu.Lock()
	running := g.started && g.final == nil
	g.started = false
	g.mu.Unlock()
	if !running {
		cancel(signalled(s))
		return
	}
	if s != unix.SIGPIPE {
		g.term.say(fmt.Sprintf("splitvm: %v goes to the command; once more ends the guest", s))
	}
	go g.streams.Input(statusPort).Write(report.EncodeRequest(uint8(s)))
}

// resized tells the guest's console the window's size.
func (g *guestIO) resized() {
	if g.screen != nil {
		cols, rows := g.term.size()
		g.screen.Resize(uint16(cols), uint16(rows))
	}
}

// status says how the guest's end becomes splitvm's exit status.
func (g *guestIO) status(o vmm.Outcome) (int, error) {
	g.mu.Lock()
	final := g.final
	g.mu.Unlock()
	var sig signalled
	switch {
	case o.End == vmm.Failed:
		return 0, g.withTail(fmt.Errorf("the guest can't go on: %w", o.Err))
	case final != nil:
		if final.Kind == report.Failed {
			fmt.Fprintln(os.Stderr, "splitvm:", final)
		}
		return final.ExitStatus(), nil
	case o.End == vmm.Stopped && errors.As(o.Err, &sig):
		return exitStopped + int(sig), nil
	case o.End == vmm.Stopped:
		return 0, o.Err
	case !g.command && (o.End == vmm.PowerOff || o.End == vmm.Reset):
		return 0, nil
	case o.End == vmm.TripleFault:
		return 0, g.withTail(errors.New("the guest crashed (triple fault)"))
	}
	return 0, g.withTail(fmt.Errorf("the guest ended (%v) without a word from its init", o))
}

// withTail adds the end of the serial port's output, where a dying kernel says
// why.
func (g *guestIO) withTail(err error) error {
	if last := g.tail.String(); last != "" {
		return fmt.Errorf("%w; the end of its serial output:\n%s", err, last)
	}
	return err
}
