package main

import (
	"errors"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// outlet is a standard stream that takes what a guest writes. When its reader
// is gone it tells so, once, and throws the rest away: that is no failure of the
// guest's.
type outlet struct {
	file     *os.File
	terminal bool
	broken   func()
	gone     atomic.Bool
}

func newOutlet(file *os.File, broken func()) *outlet {
	return &outlet{file: file, terminal: term.IsTerminal(int(file.Fd())), broken: broken}
}

func (o *outlet) Write(p []byte) (int, error) {
	if o.gone.Load() {
		return len(p), nil
	}
	n, err := o.file.Write(p)
	switch {
	case errors.Is(err, unix.EPIPE):
		o.gone.Store(true)
		o.broken()
	case errors.Is(err, unix.EIO) && o.terminal: // hung up, of which SIGHUP tells
		o.gone.Store(true)
	default:
		return n, err
	}
	return len(p), nil
}
