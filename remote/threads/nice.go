package threads

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Nice gives all threads of the process a nice value (setpriority(2), -20 to 19). One
// below 0 takes CAP_SYS_NICE: without it Nice returns an error that wraps
// fs.ErrPermission. A process that was started with one already, or
// with another policy, keeps that.
func Nice(value int) error {
	was, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return fmt.Errorf("scheduling of the process: %w", err)
	}
	if was.Nice != 0 || was.Policy != unix.SCHED_NORMAL {
		return nil // whoever set that knows better
	}
	for {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("set nice value: %w", err)
		}
		changed := false
		for _, t := range tasks {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return fmt.Errorf("set nice value: %w", err)
			}
			is, err := unix.SchedGetAttr(id, 0)
			if err == nil && int(is.Nice) != value {
				changed = true
				err = unix.Setpriority(unix.PRIO_PROCESS, id, value)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) { // has ended
				return fmt.Errorf("set nice value %d of thread %d: %w", value, id, err)
			}
		}
		if !changed { // a thread has that of the one that starts it
			return nil
		}
	}
}
