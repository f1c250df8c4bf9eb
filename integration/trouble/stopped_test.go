package trouble

import (
	"context"
	"syscall"
	"testing"
	"time"

	"splitvm/integration/require"
)

// TestStoppedPager: a pager that is stopped for longer than a line's deadline, as
// on a host that is suspended, goes on where it was: the time doesn't count.
func TestStoppedPager(t *testing.T) {
	require.KVM(t)
	require.UFFD(t)
	binary := build(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	m := runMonitor(t, binary, freeAddress(t), "128M")
	v := runVNode(ctx, t, binary, "--memory-monitor", m.addr, "--memory-deadline", "1s")
	for range 2 {
		v.passes(t, 1)
		pager := v.pager(t)
		must(t, syscall.Kill(pager, syscall.SIGSTOP))
		select { // the stop is what is tested: three deadlines, and more than the watchdog's grace
		case <-v.over:
			t.Fatalf("the vNode has ended: %s", &v.out)
		case <-time.After(4 * time.Second):
		}
		must(t, syscall.Kill(pager, syscall.SIGCONT))
		v.passes(t, 2)
	}
}
