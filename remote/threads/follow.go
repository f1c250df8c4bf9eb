package threads

import (
	"golang.org/x/sys/unix"
)

// Follower keeps a thread that waits for messages on the CPU that they come from, while
// sender and receiver take turns. To wake a thread on another CPU costs an interrupt
// there, and on a virtual machine, whose idle CPUs are given back to the host, two exits:
// on the two virtual CPUs where this was measured that was a third of a miss over
// loopback TCP. The kernel prefers an idle CPU, as it can't know that the waker is about to
// sleep.
//
// Nothing is followed where messages come faster than they are handled: then sender and
// receiver work at the same time, and each wants a CPU of its own.
type Follower struct {
	sender      func() (cpu int, ok bool)
	was         unix.CPUSet
	window      int
	at          int // the CPU, -1: none
	n, inTurn   int // messages, and those of them that came alone, in this window
	unavailable bool
}

// How many messages a Follower looks at before it changes something: 7 of 8 of them have
// to have come alone. One end of a connection has to wait for longer than the other, or
// they change places for ever.
const (
	Window     = 64
	LongWindow = 4 * Window
)

// Follow returns a Follower for the calling thread, which its goroutine has locked. Sender says
// on which CPU the message was sent that came last; not ok: that can't be known.
func Follow(window int, sender func() (cpu int, ok bool)) *Follower {
	f := &Follower{sender: sender, window: window, at: -1}
	f.unavailable = unix.SchedGetaffinity(0, &f.was) != nil
	return f
}

// Received counts a message; alone: no other one was there.
func (f *Follower) Received(alone bool) {
	if f.n++; alone {
		f.inTurn++
	}
	if f.n < f.window {
		return
	}
	turns := f.inTurn >= f.window/8*7
	f.n, f.inTurn = 0, 0
	if !turns {
		f.Stop()
		return
	}
	if cpu, ok := f.sender(); ok && cpu != f.at {
		f.stay(cpu)
	}
}

func (f *Follower) stay(cpu int) {
	if f.unavailable || !f.was.IsSet(cpu) {
		return
	}
	var set unix.CPUSet
	set.Set(cpu)
	if unix.SchedSetaffinity(0, &set) == nil {
		f.at = cpu
	}
}

// Stop lets the thread run where it might before.
func (f *Follower) Stop() {
	if f.at >= 0 && unix.SchedSetaffinity(0, &f.was) == nil {
		f.at = -1
	}
}
