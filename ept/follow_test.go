package ept

import (
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept/excache"
)

// TestFollow: threads follow a vCPU that faults alone and misses, and are let go otherwise.
func TestFollow(t *testing.T) {
	f, err := newFollow(2)
	if err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !f.anywhere.IsSet(cpu) {
		cpu++
	}
	f.cpuOf = func(int) int { return cpu }
	now := time.Now()
	window := func(missed int, threads ...int) (w followWindow) {
		for i := range followFaults {
			was := excache.Held
			if i < missed {
				was = excache.Remote
			}
			w.add(threads[i%len(threads)], was)
		}
		now = now.Add(followTime)
		w.ended = now
		return w
	}
	expect := func(what string, want int) {
		if got := int(f.target.Load()); got != want {
			t.Errorf("%s: target %d, want %d", what, got, want)
		}
	}
	f.report(0, window(followFaults, 7))
	expect("one vCPU that misses", cpu+1)
	f.report(1, window(followFaults, 7))
	expect("the same in another shard", cpu+1)
	f.report(1, window(followFaults, 8))
	expect("another vCPU in another shard", 0)
	now = now.Add(followStale)
	f.report(1, window(followFaults, 8))
	expect("the first is long gone", cpu+1)
	f.report(1, window(followFaults, 8, 9))
	expect("two vCPUs in a shard", 0)
	f.report(1, window(followFaults/2, 8))
	expect("lines come ahead", 0)
	f.cpuOf = func(int) int { return -1 }
	f.report(1, window(followFaults, 8))
	expect("nobody knows where it runs", 0)
}

// TestFollowMoves: the calling thread goes to the target, and back.
func TestFollowMoves(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	f, err := newFollow(1)
	if err != nil {
		t.Fatal(err)
	}
	last := runtime.NumCPU() - 1
	for !f.anywhere.IsSet(last) {
		last--
	}
	var have atomic.Int32
	f.target.Store(int32(last + 1))
	f.move(&have)
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil || set.Count() != 1 || !set.IsSet(last) {
		t.Errorf("affinity %v (%v), want CPU %d alone", set, err, last)
	}
	if got := cpuOf(unix.Gettid()); got != last {
		t.Errorf("the thread is on CPU %d, want %d", got, last)
	}
	f.target.Store(0)
	f.move(&have)
	if err := unix.SchedGetaffinity(0, &set); err != nil || set != f.anywhere {
		t.Errorf("affinity %v (%v), want %v", set, err, f.anywhere)
	}
	if got := cpuOf(os.Getpid() + 1<<22); got != -1 {
		t.Errorf("a thread that isn't there is on CPU %d", got)
	}
}
