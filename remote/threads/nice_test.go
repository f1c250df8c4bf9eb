package threads

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNice: every thread has the value afterwards, and keeps it.
func TestNice(t *testing.T) {
	if was, err := unix.SchedGetAttr(0, 0); err != nil || was.Nice != 0 {
		t.Skipf("this process was started with nice value %d (%v)", was.Nice, err)
	}
	for _, value := range []int{1, 2} { // a process that has one keeps it
		if err := Nice(value); err != nil {
			t.Fatal(err)
		}
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			id, _ := strconv.Atoi(task.Name())
			if is, err := unix.SchedGetAttr(id, 0); err != unix.ESRCH && (err != nil || is.Nice != 1) {
				t.Errorf("thread %d has nice value %+v (%v), want 1", id, is, err)
			}
		}
	}
}
