package trouble

import (
	"context"
	"syscall"
	"testing"
	"time"

	"splitvm/integration/require"
)

// TestStoppedPager: a pager that is stopped for longer than a line's deadline
// together with its monitor, as on hosts that are suspended, goes on where it was:
// the time doesn't count, also where a vCPU waits for a READ.
func TestStoppedPager(t *testing.T) {
	require.KVM(t)
	require.UFFD(t)
	binary := build(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	m := runMonitor(t, binary, freeAddress(t), "128M")
	v := runVNode(ctx, t, binary, "--memory-monitor", m.addr, "--memory-deadline", deadline.String(), "--prefetch", "off")
	v.passes(t, 1)
	pager := v.pager(t)
	must(t, m.cmd.Process.Signal(syscall.SIGSTOP))
	time.Sleep(100 * time.Millisecond) // a vCPU is sure to wait for the monitor
	must(t, syscall.Kill(pager, syscall.SIGSTOP))
	time.Sleep(deadline + 4*time.Second) // what is tested: more than the deadline and the watchdog's grace
	must(t, syscall.Kill(pager, syscall.SIGCONT))
	time.Sleep(300 * time.Millisecond) // the pager sees how late it is before an answer is there
	must(t, m.cmd.Process.Signal(syscall.SIGCONT))
	v.passes(t, 2)
}
