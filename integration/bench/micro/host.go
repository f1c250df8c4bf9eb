//go:build amd64

package micro

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// host is what a backend needs of the conductor.
type host interface {
	// confine is called with the guest's process before it has done anything.
	confine(pid int) error
	// ready is called when the guest has all but its working set in memory.
	ready() error
	// limit is called when the working set is in memory as well, and sets the
	// size of the cache.
	limit(c *Cell) error
	// after is called when the guest has ended its run and still exists.
	after(m *Measurement) error
	// release is called when the process is gone, also after an error.
	release() error
}

// plain hosts need nothing.
type plain struct{}

func (plain) confine(int) error        { return nil }
func (plain) ready() error             { return nil }
func (plain) limit(*Cell) error        { return nil }
func (plain) after(*Measurement) error { return nil }
func (plain) release() error           { return nil }

// swapHost limits a guest's process by a memory cgroup, so that the kernel
// swaps its memory out.
type swapHost struct {
	group *memoryGroup
	base  uint64        // bytes in use without the working set
	stop  chan struct{} // ends freshen; nil before it began
	done  sync.WaitGroup
}

var _ host = (*swapHost)(nil)

func (s *swapHost) confine(pid int) error {
	g, err := newMemoryGroup()
	if err != nil {
		return err
	}
	s.group, s.stop = g, nil
	return g.join(pid)
}

func (s *swapHost) ready() error {
	var err error
	s.base, err = s.group.used()
	return err
}

// tableShare is what page tables, the process's and KVM's, take of a working
// set: they are charged to the group, and an ExCache does not count them.
const tableShare = 200 // one in

// limit leaves room for the cell's cache above what was in use before.
func (s *swapHost) limit(c *Cell) error {
	if _, err := s.group.shared(); err != nil { // see freshen
		return err
	}
	s.stop = make(chan struct{})
	stop := s.stop
	s.done.Go(func() { s.freshen(stop) })
	return s.group.setLimit(s.base + c.WorkingSet/100*uint64(c.Cache) + c.WorkingSet/tableShare)
}

// freshness is how old the group's statistics may become.
const freshness = 2 * time.Millisecond

// freshen keeps the group's statistics up to date by reading them. Without
// that, a group that turns its memory over within the 2 seconds of the kernel's
// own interval is killed for lack of memory: all of a guest's pages count as
// active, and reclaim, going by old statistics, sees no reason to make them
// inactive (seen on Linux 6.18). For the same reason it must not be late, on a
// busy host either: its thread goes before all ordinary ones, and dies with it.
func (s *swapHost) freshen(stop <-chan struct{}) {
	runtime.LockOSThread()
	// Without the right to it, it is late at times.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	pause := unix.NsecToTimespec(freshness.Nanoseconds())
	for {
		select {
		case <-stop:
			return
		default:
		}
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &pause, nil)
		_, _ = s.group.shared() // an error shows when it is read after the run
	}
}

func (s *swapHost) after(m *Measurement) error {
	var err error
	m.Resident, err = s.group.shared()
	return err
}

// errKilled says that the kernel killed a guest's process for lack of memory.
var errKilled = errors.New("killed by the kernel for lack of memory in its cgroup")

func (s *swapHost) release() error {
	if s.group == nil {
		return nil
	}
	killed, err := s.group.killed()
	if s.stop != nil {
		close(s.stop)
		s.done.Wait()
	}
	err = errors.Join(err, s.group.close())
	s.group = nil
	if killed > 0 {
		err = errors.Join(errKilled, err)
	}
	return err
}

// prepare makes the host ready for the backends, and returns what undoes it.
func prepare(ctx context.Context, backends []string, workingSet uint64) (hosts map[string]host, notes []string, restore func() error, err error) {
	hosts, restore = map[string]host{}, func() error { return nil }
	for _, b := range backends {
		hosts[b] = plain{}
		if b != Swap {
			continue
		}
		z, err := openZRAM(ctx, 2*workingSet+64<<20)
		if err != nil {
			return nil, nil, nil, errors.Join(err, errors.New("leave backend swap out to go without it"))
		}
		hosts[b], restore = &swapHost{}, z.close
		notes = append(notes, fmt.Sprintf("swap on %s, compressor %s, %s", z.name, z.algorithm(), sysctls("vm.swappiness", "vm.page-cluster")))
	}
	return hosts, notes, restore, nil
}
