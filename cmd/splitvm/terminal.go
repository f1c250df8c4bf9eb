package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Keys of the console's escape: Ctrl-A, then x ends the guest, Ctrl-A sends
// one, h tells the keys. They are QEMU's, which users have in their fingers.
const (
	escapeKey = 0x01
	endOfFile = 0x04
)

var errEscaped = errors.New("ended from the console (Ctrl-A x)")

// terminal is the user's side of a guest's console: raw while the guest runs,
// when it is a terminal.
type terminal struct {
	in    *os.File
	saved *term.State // nil: not a terminal
}

// openTerminal puts in into raw mode if a person types there and reads out:
// Ctrl-C then goes to the guest as a byte, and the escape key is the way out.
func openTerminal(in, out *os.File) (*terminal, error) {
	t := &terminal{in: in}
	if !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return t, nil
	}
	saved, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	t.saved = saved
	return t, nil
}

// resume makes the terminal raw again after a stop, in which a shell gave it
// back. One that is not ours now is left alone: it would stop us once more.
func (t *terminal) resume() {
	fd := int(t.in.Fd())
	if !t.interactive() {
		return
	}
	if group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil && group == unix.Getpgrp() {
		term.MakeRaw(fd)
	}
}

// say writes lines for the user, whatever the terminal's mode.
func (t *terminal) say(lines string) {
	lines += "\n"
	if t.interactive() {
		lines = strings.ReplaceAll(lines, "\n", "\r\n")
	}
	io.WriteString(os.Stderr, lines)
}

// interactive tells whether a person types.
func (t *terminal) interactive() bool { return t.saved != nil }

// size is the terminal's columns and rows, 0 where there is none.
func (t *terminal) size() (cols, rows int) {
	if !t.interactive() {
		return 0, 0
	}
	cols, rows, err := term.GetSize(int(t.in.Fd()))
	if err != nil {
		return 0, 0
	}
	return cols, rows
}

// close gives the terminal back as it was, unless it is gone.
func (t *terminal) close() error {
	if t.saved == nil {
		return nil
	}
	if err := term.Restore(int(t.in.Fd()), t.saved); err != nil && !errors.Is(err, unix.EIO) {
		return fmt.Errorf("give the terminal back: %w (`reset` does)", err)
	}
	return nil
}

// pump hands what is typed to the guest until the input ends, which it reports
// to eof, or the user escapes, which it reports to escaped.
func (t *terminal) pump(guest io.Writer, eof func(), escaped func(error)) {
	f := escapeFilter{on: t.interactive(), end: 'x'}
	switch t.pumpFiltered(&f, guest) {
	case escapeEnd:
		escaped(errEscaped)
	case escapeEOF:
		eof()
	}
}

// pumpFiltered hands what is typed to the guest until the user escapes, the
// input ends, or the guest takes no more (escapeNone).
func (t *terminal) pumpFiltered(f *escapeFilter, guest io.Writer) escapeAction {
	buf := make([]byte, 4096)
	for {
		n, err := t.in.Read(buf)
		out, action := f.filter(buf[:n])
		if len(out) > 0 {
			if _, werr := guest.Write(out); werr != nil {
				return escapeNone
			}
		}
		switch action {
		case escapeEnd:
			return escapeEnd
		case escapeHelp:
			t.say("\n" + f.help())
		}
		if err != nil {
			return escapeEOF
		}
	}
}

type escapeAction int

const (
	escapeNone escapeAction = iota
	escapeEnd
	escapeHelp
	escapeEOF // of the input
)

// escapeFilter takes the escape sequences out of what is typed. A sequence may
// be split over reads.
type escapeFilter struct {
	on      bool
	end     byte // after the escape key: x ends the guest, d detaches from it
	pending bool
}

// help tells the keys.
func (f *escapeFilter) help() string {
	does := "end the guest"
	if f.end == 'd' {
		does = "detach; the guest runs on"
	}
	return fmt.Sprintf("Ctrl-A %c       %s\nCtrl-A Ctrl-A  send Ctrl-A", f.end, does)
}

// filter returns what goes to the guest and what else to do. After escapeEnd
// the rest is dropped.
func (f *escapeFilter) filter(p []byte) ([]byte, escapeAction) {
	if !f.on {
		return p, escapeNone
	}
	action := escapeNone
	out := make([]byte, 0, len(p)+1)
	for _, b := range p {
		if !f.pending {
			if f.pending = b == escapeKey; !f.pending {
				out = append(out, b)
			}
			continue
		}
		f.pending = false
		switch b {
		case f.end, f.end - 'a' + 'A':
			return out, escapeEnd
		case 'h', '?':
			action = escapeHelp
		case escapeKey:
			out = append(out, escapeKey)
		default:
			out = append(out, escapeKey, b)
		}
	}
	return out, action
}
