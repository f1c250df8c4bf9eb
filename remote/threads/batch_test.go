package threads

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBatch(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	scheduling := func() unix.SchedAttr {
		t.Helper()
		a, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return *a
	}
	was := scheduling()
	undo, err := Batch()
	if err != nil {
		t.Fatal(err)
	}
	if is := scheduling(); is.Policy != unix.SCHED_BATCH || is.Nice != was.Nice {
		t.Errorf("policy %d, nice %d of a thread with nice %d", is.Policy, is.Nice, was.Nice)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if is := scheduling(); is.Policy != was.Policy || is.Nice != was.Nice {
		t.Errorf("%+v afterwards, %+v before", is, was)
	}
}
