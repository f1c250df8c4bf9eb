// Package uring is as much of io_uring(7) as positioned reads and writes of
// files with vectors need: many in flight, submitted and collected in batches by
// one thread, which waits for them and for an eventfd at once. It has no
// registered files or buffers, no kernel polling thread and no linked requests.
//
// A Ring belongs to one goroutine, which is locked to its thread from New to
// Close. That spares every lock here, and in the kernel the wake-up of one
// thread for what another has submitted.
package uring

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Operations and their flags (linux/io_uring.h).
const (
	opReadv      = 1
	opWritev     = 2
	opPollAdd    = 6
	pollAddMulti = 1 // in len: more than one event

	completedMore = 1 << 1 // the poll goes on
)

const (
	featSingleMmap   = 1 << 0  // Linux 5.4
	featNoDrop       = 1 << 1  // 5.5
	featSubmitStable = 1 << 2  // 5.5: vectors are the kernel's own once it took the entry
	featTags         = 1 << 10 // 5.13, which has multishot polls as well
	needed           = featSingleMmap | featNoDrop | featSubmitStable | featTags

	setupSingleIssuer = 1 << 12 // 6.0
	setupDeferTasks   = 1 << 13 // 6.1: completions cost nothing until they are asked for

	wakeToken = ^uint64(0) // user data of the poll
)

// Ring is an io_uring. A transfer is known by a T of its owner's.
type Ring[T any] struct {
	fd     int
	wake   int // an eventfd
	queues queues
	ended  func(of T, n int, err error)

	slots   []slot[T]   // by user data
	free    []uint32    // slots not in flight
	held    []uint32    // slots queued and not submitted, oldest first
	extra   uint32      // further entries queued: the poll
	armed   bool        // the poll is queued or at work
	entries []completed // Collect's own
}

// slot is one transfer in flight.
type slot[T any] struct {
	vectors []unix.Iovec
	of      T
}

// New makes a ring for up to entries transfers in flight, a power of two. ended
// is told how each ended, with the number of bytes or an error, within Collect
// and Wait. New fails where io_uring isn't there or isn't allowed: callers have
// another way.
func New[T any](entries, wake int, ended func(of T, n int, err error)) (*Ring[T], error) {
	fd, p, err := setup(uint32(2*entries), setupSingleIssuer|setupDeferTasks)
	if err == unix.EINVAL {
		fd, p, err = setup(uint32(2*entries), 0)
	}
	if err != nil {
		return nil, fmt.Errorf("io_uring_setup: %w", err)
	}
	if p.features&needed != needed {
		unix.Close(fd)
		return nil, fmt.Errorf("this kernel's io_uring has too few features (%#x): use Linux 5.13 or later", p.features)
	}
	r := &Ring[T]{fd: fd, wake: wake, ended: ended, slots: make([]slot[T], entries)}
	if r.queues, err = mapQueues(fd, p); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("map an io_uring: %w", err)
	}
	for i := range r.slots {
		r.free = append(r.free, uint32(len(r.slots)-1-i))
	}
	return r, nil
}

// Close waits for what is in flight and frees the ring.
func (r *Ring[T]) Close() error {
	for r.InFlight() > 0 {
		if err := r.enter(1); err != nil {
			return fmt.Errorf("close an io_uring: %w", err) // the kernel still has the memory: leave it
		}
		r.collect()
	}
	return errors.Join(r.queues.unmap(), unix.Close(r.fd))
}

// InFlight is the number of transfers that have not ended.
func (r *Ring[T]) InFlight() int { return len(r.slots) - len(r.free) }

// Read queues a preadv of fd at off, submitted by the next Collect or Wait.
// False if too many are in flight. The memory is in use until it has ended.
func (r *Ring[T]) Read(of T, fd int, memory [][]byte, off uint64) bool {
	return r.queue(of, opReadv, fd, memory, off)
}

// Write is Read for a pwritev.
func (r *Ring[T]) Write(of T, fd int, memory [][]byte, off uint64) bool {
	return r.queue(of, opWritev, fd, memory, off)
}

func (r *Ring[T]) queue(of T, op uint8, fd int, memory [][]byte, off uint64) bool {
	n := len(r.free)
	if n == 0 {
		return false
	}
	i := r.free[n-1]
	r.free = r.free[:n-1]
	s := &r.slots[i]
	s.of, s.vectors = of, appendVectors(s.vectors[:0], memory)
	r.queues.put(entry{opcode: op, fd: int32(fd), off: off, addr: address(s.vectors), len: uint32(len(s.vectors)), userData: uint64(i)})
	r.held = append(r.held, i)
	return true
}

// Collect submits what was queued and ends what is done, without waiting.
func (r *Ring[T]) Collect() error {
	if r.InFlight() == 0 {
		return nil
	}
	err := r.enter(0)
	r.collect()
	return err
}

// Wait submits what was queued and sleeps until a transfer is done or the
// eventfd is signalled, once more than at the last Wait that it ended. It may
// return for nothing. It doesn't take the eventfd's signal.
func (r *Ring[T]) Wait() error {
	if !r.armed {
		r.queues.put(entry{opcode: opPollAdd, fd: int32(r.wake), len: pollAddMulti, opFlags: unix.POLLIN, userData: wakeToken})
		r.extra++
		r.armed = true
	}
	err := r.enter(1)
	r.collect()
	return err
}

// enter submits everything and waits for a number of completions. Where the
// kernel takes no more for good, what was queued ends with the error.
func (r *Ring[T]) enter(wait uint32) error {
	for {
		n, err := enter(r.fd, r.extra+uint32(len(r.held)), wait)
		switch err {
		case nil:
			r.taken(uint32(n))
			if r.extra+uint32(len(r.held)) == 0 {
				return nil
			}
		case unix.EINTR:
		case unix.EAGAIN, unix.EBUSY: // pass when completions are taken
			r.collect()
			time.Sleep(50 * time.Microsecond)
		default:
			r.lose(err)
			return fmt.Errorf("io_uring_enter: %w", err)
		}
	}
}

// taken counts n entries as submitted; the poll, if any, was queued last.
func (r *Ring[T]) taken(n uint32) {
	k := min(n, uint32(len(r.held)))
	r.held = r.held[:copy(r.held, r.held[k:])]
	r.extra -= n - k
}

// lose ends what the kernel didn't take.
func (r *Ring[T]) lose(err error) {
	for _, i := range r.held {
		r.end(i, 0, fmt.Errorf("io_uring_enter: %w", err))
	}
	r.held = r.held[:0]
}

// collect ends what is done.
func (r *Ring[T]) collect() {
	r.entries = r.queues.take(r.entries[:0])
	for _, c := range r.entries {
		switch {
		case c.userData == wakeToken:
			r.armed = r.armed && c.flags&completedMore != 0
		case c.res < 0:
			r.end(uint32(c.userData), 0, unix.Errno(-c.res))
		default:
			r.end(uint32(c.userData), int(c.res), nil)
		}
	}
}

func (r *Ring[T]) end(i uint32, n int, err error) {
	var none T
	of := r.slots[i].of
	r.slots[i].of = none
	r.free = append(r.free, i)
	r.ended(of, n, err)
}
