package threads

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Batch has the calling thread, which its goroutine has locked, not preempt another
// one when it wakes (SCHED_BATCH, sched(7)), until undo is called. On a CPU of its
// own nothing changes. On one that it shares with whoever wakes it, that one can
// hand over more work first: without, a queue's worker takes one request at a time.
func Batch() (undo func() error, err error) {
	was, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return nil, fmt.Errorf("scheduling of the thread: %w", err)
	}
	if was.Policy != unix.SCHED_NORMAL {
		return func() error { return nil }, nil // whoever set that knows better
	}
	set := func(policy uint32) error {
		if err := unix.SchedSetAttr(0, &unix.SchedAttr{Policy: policy, Nice: was.Nice}, 0); err != nil {
			return fmt.Errorf("scheduling of the thread: %w", err)
		}
		return nil
	}
	if err := set(unix.SCHED_BATCH); err != nil {
		return nil, err
	}
	return func() error { return set(unix.SCHED_NORMAL) }, nil
}
