package main

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// outletPatience is what a reader has to take something when splitvm was told
// to end.
const outletPatience = time.Second

// outlet is where what a guest writes goes: a standard stream or a file. When
// its reader is gone it tells so, once, and throws the rest away: that is no
// failure of the guest's.
type outlet struct {
	file     *os.File
	own      bool // file is a description of our own
	terminal bool
	broken   func() // may be nil
	gone     atomic.Bool
}

// newOutlet takes a pipe or a terminal by a description of its own, so that a
// write to it can be given up without a change for those who share it. Where
// that can't be had, a reader that does not read holds splitvm up.
func newOutlet(file *os.File, broken func()) *outlet {
	o := &outlet{file: file, broken: broken, terminal: term.IsTerminal(int(file.Fd()))}
	if info, err := file.Stat(); err != nil || !o.terminal && info.Mode()&os.ModeNamedPipe == 0 {
		return o
	}
	own, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err == nil {
		o.file, o.own = own, true
	}
	return o
}

func (o *outlet) close() error {
	if !o.own {
		return nil
	}
	return o.file.Close()
}

func (o *outlet) Write(p []byte) (int, error) {
	tried := false // with all of the patience
	for done := 0; done < len(p) && !o.gone.Load(); {
		n, err := o.file.Write(p[done:])
		done += n
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			o.gone.Store(n == 0 && tried)
			tried = true
			o.hurry()
		case errors.Is(err, unix.EPIPE):
			o.gone.Store(true)
			if o.broken != nil {
				o.broken()
			}
		case errors.Is(err, unix.EIO) && o.terminal: // hung up, of which SIGHUP tells
			o.gone.Store(true)
		default:
			return done, err
		}
	}
	return len(p), nil
}

// hurry gives a reader that takes nothing up, now or later.
func (o *outlet) hurry() { o.file.SetWriteDeadline(time.Now().Add(outletPatience)) }
