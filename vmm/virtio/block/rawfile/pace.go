package rawfile

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// inPlaceMax bounds what one request may copy on a queue's worker, in bytes.
	inPlaceMax = 256 << 10
	// slow is a request that was more than copying, at slowCopy: the file system
	// waited for its journal, or for dirty pages to be written.
	slow = time.Millisecond
	// slowCopy is what a request is given for each KiB on top: 64 MiB/s, a tenth of
	// what an emulated CPU copies.
	slowCopy = time.Second / (64 << 10)
	// scrutiny is how many requests after a slow one are looked at closely.
	scrutiny = 64
	// penalty is how many requests go to the pool after one that did wait.
	penalty = 64
)

// pace decides whether requests that may block are done in place. What is slow
// need not have waited: on a CPU that it shares with vCPUs, most of the slow ones
// have had it taken away. Only the count of the thread's voluntary switches
// tells, which costs a system call before each request and one after, so that is
// asked for a while after a slow one. It is shared by the queues' workers.
type pace struct {
	debt    atomic.Int32 // requests still to go to the pool
	suspect atomic.Int32 // requests still to be looked at closely
}

// allows tells whether the next request may be done in place.
func (p *pace) allows() bool {
	if p.debt.Load() <= 0 {
		return true
	}
	p.debt.Add(-1)
	return false
}

// run does a request of length bytes in place, on a thread of its own.
func (p *pace) run(length uint64, do func() error) error {
	closely := p.suspect.Load() > 0
	var before int64
	if closely {
		p.suspect.Add(-1)
		before = waits()
	}
	began := time.Now()
	err := do()
	p.took(time.Since(began), length, closely && waits() > before)
	return err
}

// took is told how long a request in place took, and whether it is known to have waited.
func (p *pace) took(d time.Duration, length uint64, waited bool) {
	if d <= slow+time.Duration(length>>10)*slowCopy {
		return
	}
	p.suspect.Store(scrutiny)
	if waited {
		p.debt.Store(penalty)
	}
}

// waits is how often the calling thread has given up its CPU by itself.
func waits() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return 0
	}
	return u.Nvcsw
}
