package ept

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/ept/excache"
)

// follow keeps the threads that a vCPU waits for (fault thread, receivers of
// demands) on the vCPU's CPU, as long as one vCPU alone faults and each fault
// is a miss: then only one of these threads has something to do at a time,
// and to wake one on another CPU that is idle costs several times what it does.
// With several vCPUs, or where lines are brought ahead, there is work at the
// same time, and the kernel decides.
type follow struct {
	anywhere unix.CPUSet          // the process's; immutable
	cpuOf    func(thread int) int // immutable; -1: not known
	target   atomic.Int32         // the CPU, plus 1; 0: anywhere
	mu       sync.Mutex
	windows  []followWindow // the last of each shard; guarded by mu
}

// followWindow is what the faults of some time were like.
type followWindow struct {
	thread int // that took all of them; 0: several did
	faults int
	missed int // those that had to be fetched
	ended  time.Time
}

const (
	followFaults = 64                    // a window has at least so many
	followTime   = 10 * time.Millisecond // and lasts as long
	followStale  = 20 * followTime       // an older window says nothing
)

func newFollow(shards int) (*follow, error) {
	f := &follow{cpuOf: cpuOf, windows: make([]followWindow, shards)}
	if err := unix.SchedGetaffinity(0, &f.anywhere); err != nil {
		return nil, fmt.Errorf("get CPU affinity: %w", err)
	}
	return f, nil
}

// add counts a fault on a line in a state.
func (w *followWindow) add(thread int, was excache.State) {
	if w.faults == 0 {
		w.thread = thread
	} else if w.thread != thread {
		w.thread = 0
	}
	w.faults++
	if was == excache.Remote {
		w.missed++
	}
}

// alone tells whether a single thread faulted, and had to wait nearly each time.
func (w *followWindow) alone() bool { return w.thread != 0 && 4*w.missed >= 3*w.faults }

// report takes a shard's window and decides where the threads are to run.
func (f *follow) report(shard int, w followWindow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.windows[shard] = w
	for _, o := range f.windows {
		if w.ended.Sub(o.ended) < followStale && (o.thread != w.thread || !o.alone()) {
			f.target.Store(0)
			return
		}
	}
	cpu := f.cpuOf(w.thread)
	if cpu < 0 || !f.anywhere.IsSet(cpu) {
		cpu = -1
	}
	f.target.Store(int32(cpu + 1))
}

// move has the calling thread, whose last target is in have, run where it should.
func (f *follow) move(have *atomic.Int32) {
	want := f.target.Load()
	if have.Load() == want {
		return
	}
	have.Store(want)
	set := f.anywhere
	if want > 0 {
		set.Zero()
		set.Set(int(want - 1))
	}
	unix.SchedSetaffinity(0, &set) // at worst the thread stays where it was
}

// cpuOf returns the CPU that a thread ran on last, -1 if it can't be known (it has
// ended, or is in another namespace).
func cpuOf(thread int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(thread) + "/stat")
	if err != nil {
		return -1
	}
	const processor = 39 // counted from 1; the name, in brackets, may have spaces
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < processor-2 {
		return -1
	}
	cpu, err := strconv.Atoi(string(fields[processor-3]))
	if err != nil {
		return -1
	}
	return cpu
}
