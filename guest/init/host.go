//go:build linux && amd64

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/init/report"
)

// hostLink is the way to the host: the status port, or the I/O port without it.
type hostLink struct {
	port   *os.File // nil before open, and where there is no port
	opened bool
}

const (
	portWait  = 2 * time.Second // for the host to name the ports of a console that has some
	tellWait  = 5 * time.Second // for the host to take a line
	portsPoll = time.Millisecond
)

// open finds the status port. It is for the main goroutine only, as is tell.
func (h *hostLink) open() {
	if h.opened {
		return
	}
	h.opened = true
	port, err := openPort(report.PortName)
	if err != nil {
		logf("no status port, the I/O port %#x is told instead: %v", report.IOPort, err)
		return
	}
	h.port = port
}

// tell sends m to the host. There is nobody to return an error to: a final
// message that can't be sent goes to the I/O port.
func (h *hostLink) tell(m report.Message) {
	h.open()
	if h.port != nil {
		_ = h.port.SetWriteDeadline(time.Now().Add(tellWait)) // it can't be: the write is tried all the same
		_, err := h.port.Write(report.Encode(m))
		if err == nil {
			return
		}
		logError(fmt.Errorf("tell the host: %w", err))
	}
	if !m.Final() {
		return
	}
	if err := writeIOPort(report.IOPort, report.EncodePort(m)); err != nil {
		logError(fmt.Errorf("tell the host: %w", err))
	}
}

// requests calls kill for every signal that the host asks for, until the host
// closes the port or stopRequests is called.
func (h *hostLink) requests(kill func(unix.Signal)) {
	if h.port == nil || h.port.SetReadDeadline(time.Time{}) != nil {
		return // no port, or one that stopRequests could not stop
	}
	lines := bufio.NewScanner(h.port)
	lines.Buffer(nil, report.MaxLine)
	for lines.Scan() {
		sig, err := report.DecodeRequest(lines.Bytes())
		if err != nil {
			logError(fmt.Errorf("the host's request: %w", err))
			continue
		}
		kill(unix.Signal(sig))
	}
}

// stopRequests ends requests, now or as soon as it is called.
func (h *hostLink) stopRequests() {
	if h.port == nil {
		return
	}
	_ = h.port.SetReadDeadline(time.Unix(1, 0)) // it can't be: then requests has returned already
}

var errNoPort = errors.New("no virtio console has such a port")

// openPort opens the virtio-console port of the name. The driver, once it is
// there, asks the host for ports, so they may be a moment late.
func openPort(name string) (*os.File, error) {
	if path := awaitPort(name, multiportConsole); path != "" {
		return os.OpenFile(path, os.O_RDWR, 0)
	}
	return nil, fmt.Errorf("%s: %w", name, errNoPort)
}

// awaitPort is portPath, waiting while more ports may come.
func awaitPort(name string, more func() bool) string {
	for deadline := time.Now().Add(portWait); ; time.Sleep(portsPoll) {
		// Asked for before looking, as the last may come in between.
		wait := more() && time.Now().Before(deadline)
		if path := portPath(name); path != "" || !wait {
			return path
		}
	}
}

// namesToCome tells whether a port is there that the host has not named yet. A
// host announces all ports before it names the first, so once one has its name
// no other is missing here.
func namesToCome() bool { return unnamedPort(portsDir) }

const portsDir = "/sys/class/virtio-ports"

func unnamedPort(dir string) bool {
	ports, err := filepath.Glob(dir + "/*")
	if err != nil {
		return false // the pattern is right
	}
	return slices.ContainsFunc(ports, func(p string) bool {
		_, err := os.Stat(p + "/name")
		return err != nil
	})
}

// portPath is the device of the named port, empty if there is none yet.
func portPath(name string) string {
	files, err := filepath.Glob(portsDir + "/*/name")
	if err != nil {
		return "" // the pattern is right
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err == nil && strings.TrimSpace(string(data)) == name {
			return "/dev/" + filepath.Base(filepath.Dir(f))
		}
	}
	return ""
}

// multiportConsole tells whether a virtio console is there which has named ports.
func multiportConsole() bool {
	const (
		consoleID   = "0x0003" // virtio 1.2, section 5
		multiportAt = 1        // VIRTIO_CONSOLE_F_MULTIPORT, section 5.3.3; sysfs shows bit 0 first
	)
	devices, err := filepath.Glob("/sys/bus/virtio/devices/*")
	if err != nil {
		return false // the pattern is right
	}
	for _, d := range devices {
		id, err := os.ReadFile(d + "/device")
		if err != nil || strings.TrimSpace(string(id)) != consoleID {
			continue
		}
		features, err := os.ReadFile(d + "/features")
		if err == nil && len(features) > multiportAt && features[multiportAt] == '1' {
			return true
		}
	}
	return false
}
