// Package threads makes Go's runtime fit for a process whose threads are in
// blocking system calls most of the time: a pager, a memory monitor, a VMM.
//
// What it isn't: where threads run (the kernel decides, but for those that follow their
// messages: see Follower), nor their number.
//
// The runtime lends each thread one of its processors (P), also while it is
// blocked, and takes that away after 10 ms. Two things follow for a thread that
// is blocked for some 10 us at a time, thousands of times a second:
//
//   - It needs a spare P when it returns from a call after its own was taken, or
//     it waits for the scheduler: 170 us instead of 20.
//   - The P that it gets instead has a stamp of when it was last scheduled that
//     is older than 10 ms, so the runtime's monitor thread takes it again at
//     once, and having found something to do it looks again 20 us later, for
//     ever. Each look costs 12 us of a CPU that somebody's fault waits for
//     (traced on Linux 6.18, Go 1.26). The kernel's timer slack makes the
//     looks rarer; the runtime itself has no setting.
package threads

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// slack is how late the kernel may wake a thread that sleeps. Every timer of
// the process may be that late. It is how often the runtime's monitor thread looks
// while requests are under way. On a CPU that is slow and shared (QEMU's TCG) each
// look also interrupts the guest: with 4 ms, a VMM's and a storage monitor's still
// take 9 % of that CPU.
const slack = 4 * time.Millisecond

// spare is how many processors there are for threads that nobody announces.
const spare = 8

var (
	mu      sync.Mutex
	blocked int  // threads that were announced; guarded by mu
	relaxed bool // guarded by mu
)

// Block announces n more threads that block in system calls most of the time,
// and prepares the runtime for them. Setting the slack of threads that exist
// already takes CAP_SYS_NICE: without it those that are started by the calling
// thread have it, and Block returns an error that wraps fs.ErrPermission: the
// process works, and is a little slower.
func Block(n int) error {
	mu.Lock()
	defer mu.Unlock()
	blocked += n
	if need := runtime.NumCPU() + blocked + spare; need > runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(need)
	}
	if relaxed {
		return nil
	}
	relaxed = true
	return relax()
}

// relax sets the slack of all threads. A thread has that of the one that
// started it, so one pass finds all but those that are being started now.
func relax() error {
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0); err != nil {
		return fmt.Errorf("set timer slack: %w", err)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("set timer slack: %w", err)
	}
	for _, t := range tasks {
		err := os.WriteFile("/proc/"+t.Name()+"/timerslack_ns", fmt.Append(nil, slack.Nanoseconds()), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // has ended
			return fmt.Errorf("set timer slack of thread %s: %w: give the process CAP_SYS_NICE", t.Name(), err)
		}
	}
	return nil
}
