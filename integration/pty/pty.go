// Package pty makes pseudoterminals, for those that stand in for a person at
// one: tests, and the rig's agent.
package pty

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Open makes a terminal of the given window size and returns the person's side,
// master, and the one that programs have. Neither becomes anybody's controlling
// terminal by it.
func Open(cols, rows uint16) (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	n, err := number(master)
	if err == nil {
		err = Resize(master, cols, rows)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	return master, slave, nil
}

// number unlocks the programs' side and tells its number (pts(4)).
func number(master *os.File) (n int, err error) {
	ctlErr := control(master, func(fd int) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		}
	})
	if ctlErr != nil {
		return 0, ctlErr
	}
	return n, err
}

// Resize changes the window's size, of which the terminal's foreground
// processes are told by SIGWINCH.
func Resize(side *os.File, cols, rows uint16) (err error) {
	ctlErr := control(side, func(fd int) {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	if ctlErr != nil {
		return ctlErr
	}
	return err
}

// Modes reads a terminal's settings.
func Modes(side *os.File) (t unix.Termios, err error) {
	ctlErr := control(side, func(fd int) {
		var p *unix.Termios
		if p, err = unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			t = *p
		}
	})
	if ctlErr != nil {
		return t, ctlErr
	}
	return t, err
}

// SetModes changes them.
func SetModes(side *os.File, t unix.Termios) (err error) {
	ctlErr := control(side, func(fd int) { err = unix.IoctlSetTermios(fd, unix.TCSETS, &t) })
	if ctlErr != nil {
		return ctlErr
	}
	return err
}

// control keeps the descriptor in non-blocking mode, so that deadlines work.
func control(f *os.File, do func(fd int)) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { do(int(fd)) })
}
