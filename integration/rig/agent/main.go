// Command agent runs in the rig's L1 machine and does what the host asks through
// the virtio-serial port (package link): it starts commands and carries their
// input, output and status. Nothing that the kernel or a command writes to the
// console gets in between.
//
// Goroutines: the main one reads frames and never blocks on a command; each
// session has its own, which end with it. The process ends with the machine.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/integration/rig/link"
)

// beatEvery is how often the host is told that this machine lives.
const beatEvery = 2 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run() error {
	port, err := openPort(link.PortName)
	if err != nil {
		return err
	}
	defer port.Close()
	a := &agent{out: link.NewWriter(port), sessions: make(map[link.SessionID]*session)}
	if err := a.out.SendJSON(link.Hello, 0, hello()); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	go a.beat()
	in := link.NewReader(port)
	for {
		f, err := in.Next()
		if err != nil {
			return fmt.Errorf("read a frame: %w", err)
		}
		if err := a.handle(f); err != nil {
			return err
		}
	}
}

// openPort opens the virtio-serial port of a name, which its driver shows once
// the host has told it.
func openPort(name string) (*os.File, error) {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if text, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(text)) == name {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(f)), os.O_RDWR, 0)
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no virtio-serial port %q among %d", name, len(files))
		}
	}
}

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

// beat tells the host that this machine lives, until it doesn't.
func (a *agent) beat() {
	for a.out.Send(link.Frame{Kind: link.Beat}) == nil {
		time.Sleep(beatEvery)
	}
}

// handle does what one frame asks. An error ends the agent, and so the machine.
func (a *agent) handle(f link.Frame) error {
	switch f.Kind {
	case link.Start:
		var c link.Command
		if err := f.Decode(&c); err != nil {
			return err
		}
		a.start(f.Session, c)
	case link.Stdin:
		if s := a.session(f.Session); s != nil {
			s.input.put(f.Payload)
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
	case link.PowerOff:
		unix.Sync()
		return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	default:
		return fmt.Errorf("%w: the host sent a frame of kind %d", link.ErrStep, f.Kind)
	}
	return nil
}

// taken tells the host that n bytes of a session's input were passed on.
func (a *agent) taken(s link.SessionID, n int) error {
	return a.out.Send(link.Frame{Kind: link.Taken, Session: s, Payload: binary.LittleEndian.AppendUint32(nil, uint32(n))})
}
