package threads

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFollow(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	affinity := func() (set unix.CPUSet) {
		t.Helper()
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			t.Fatal(err)
		}
		return set
	}
	all := affinity()
	if all.Count() < 2 {
		t.Skip("needs two CPUs")
	}
	var cpus []int
	for cpu := 0; len(cpus) < 2; cpu++ {
		if all.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	from, known := cpus[0], true
	const window, follow = Window, Window / 8 * 7
	f := Follow(window, func() (int, bool) { return from, known })
	receive := func(n, alone int) {
		for i := range n {
			f.Received(i < alone)
		}
	}
	on := func(what string, cpu int) {
		t.Helper()
		if set := affinity(); set.Count() != 1 || !set.IsSet(cpu) {
			t.Errorf("%s: %d CPUs, want CPU %d", what, set.Count(), cpu)
		}
	}
	free := func(what string) {
		t.Helper()
		if affinity() != all {
			t.Errorf("%s: the thread may not run everywhere", what)
		}
	}
	receive(window-1, window)
	free("a few messages")
	receive(1, 1)
	on("a window", cpus[0])
	from = cpus[1]
	receive(window, follow)
	on("the sender has moved", cpus[1])
	known = false
	receive(window, window)
	on("the sender is not known", cpus[1])
	receive(window, follow-1)
	free("messages come at once")
	known, from = true, 1023
	receive(window, window)
	free("the sender is where this thread may not be")
	from = cpus[0]
	receive(window, window)
	on("in turns again", cpus[0])
	f.Stop()
	free("stopped")
	f.Stop()
}
