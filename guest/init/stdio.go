//go:build linux && amd64

package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"splitvm/guest/init/cmdline"
)

// streams are a command's standard input, output and error.
type streams struct {
	files    [3]*os.File // may be the same several times
	terminal bool        // they are a terminal, which the command is to control
}

func (s *streams) fds() []uintptr {
	return []uintptr{s.files[0].Fd(), s.files[1].Fd(), s.files[2].Fd()}
}

// close closes this process's copies.
func (s *streams) close() {
	for _, f := range s.files {
		f.Close() // twice, if it is there twice: the second does nothing
	}
}

func openStdio(c cmdline.Command, who account) (*streams, error) {
	switch c.Stdio {
	case cmdline.StdioNone:
		return openDevice("/dev/null", cmdline.Command{}, who)
	case cmdline.StdioPorts:
		return openPorts(c, who)
	case cmdline.StdioConsole:
		return openDevice(consoleDevice(), c, who)
	}
	return openDevice(string(c.Stdio), c, who)
}

// consoleDevice is the terminal behind /dev/console, which itself can't be a
// controlling terminal: the last that the kernel lists.
func consoleDevice() string {
	data, err := os.ReadFile("/sys/class/tty/console/active")
	names := strings.Fields(string(data))
	if err != nil || len(names) == 0 {
		logf("the kernel has no console (console=): the command gets /dev/null")
		return "/dev/null"
	}
	return "/dev/" + names[len(names)-1]
}

// openDevice makes one device all three streams.
func openDevice(path string, c cmdline.Command, who account) (*streams, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the command's terminal %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	s := &streams{files: [3]*os.File{f, f, f}}
	termios, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return s, nil // no terminal
	}
	s.terminal = c.TTY
	if !c.TTY {
		makeRaw(termios)
		if err := unix.IoctlSetTermios(fd, unix.TCSETS, termios); err != nil {
			return nil, fmt.Errorf("make %s pass bytes through: %w", path, err)
		}
	}
	if err := f.Chown(int(who.uid), -1); err != nil {
		logf("give %s to %s: %v", path, who.name, err) // it has it open all the same
	}
	return s, nil
}

// makeRaw has a terminal pass bytes through unchanged, as cfmakeraw(3) does.
func makeRaw(t *unix.Termios) {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

// openPorts makes the virtio-console ports the streams. Without the port for
// input there is none, and outputs without one go to the console.
func openPorts(c cmdline.Command, who account) (*streams, error) {
	s := &streams{}
	for i, p := range []struct {
		name string
		flag int
	}{{cmdline.StdinPort, unix.O_RDONLY}, {cmdline.StdoutPort, unix.O_WRONLY}, {cmdline.StderrPort, unix.O_WRONLY}} {
		path := awaitPort(p.name, namesToCome)
		if path == "" {
			path = consoleDevice()
		}
		if path == "" && i == 0 {
			path = "/dev/null"
		}
		fd, err := unix.Open(path, p.flag|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s for %s: %w", path, p.name, err)
		}
		s.files[i] = os.NewFile(uintptr(fd), path)
		if err := s.files[i].Chown(int(who.uid), -1); err != nil {
			logf("give %s to %s: %v", path, who.name, err)
		}
	}
	return s, nil
}
