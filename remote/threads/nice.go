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
// fs.ErrPermission. A process that was started with one already keeps that.
func Nice(value int) error {
	was, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return fmt.Errorf("scheduling of the process: %w", err)
	}
	if was.Nice != 0 {
		return nil // whoever set that knows better
	}
	// A thread has that of the one that started it: this one first, then one pass finds
	// all but those that are being started now.
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, value); err != nil {
		return fmt.Errorf("set nice value %d: %w", value, err)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("set nice value: %w", err)
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return fmt.Errorf("set nice value: %w", err)
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, value); err != nil && !errors.Is(err, unix.ESRCH) { // has ended
			return fmt.Errorf("set nice value %d of thread %d: %w", value, id, err)
		}
	}
	return nil
}
