package threads

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestBlock: every thread has the slack afterwards, and there are enough
// processors of Go's, also after a second call.
func TestBlock(t *testing.T) {
	err := Block(3)
	if errors.Is(err, fs.ErrPermission) {
		t.Skipf("%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{3, 7} {
		if got, want := runtime.GOMAXPROCS(0), runtime.NumCPU()+n; got < want {
			t.Errorf("%d processors for %d threads that block, want at least %d", got, n, want)
		}
		if err := Block(4); err != nil {
			t.Fatal(err)
		}
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/" + task.Name() + "/timerslack_ns")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if got := strings.TrimSpace(string(b)); err != nil || got != "4000000" {
			t.Errorf("thread %s has a slack of %q ns (%v), want 4000000", task.Name(), got, err)
		}
	}
}
