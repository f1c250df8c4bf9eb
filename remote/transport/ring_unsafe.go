package transport

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A ring carries bytes in one direction through shared memory:
//
//	  0  u32  head: bytes ever put in, by the producer
//	 64  u32  tail: bytes ever taken out, by the consumer
//	128  u32  the consumer sleeps on head
//	192  u32  the producer sleeps on tail
//	4096      data, ringSize bytes
//
// Each side keeps its own counter in private memory as well and believes that
// one; of the other's it believes what is possible. A peer that writes nonsense
// gets the connection closed, not this process out of bounds. The bytes
// themselves are copied out once before anybody looks at them.
type ring struct {
	head, tail                     *atomic.Uint32
	consumerSleeps, producerSleeps *atomic.Uint32
	data                           []byte
	mine                           uint32       // head of the producer, tail of the consumer
	asleep                         atomic.Int32 // how many of this process sleep on it
	// order is both rings': by it Go knows that what was copied into the one happened before
	// what is taken from the other, as an answer is to what was sent.
	order *atomic.Uint32
}

const (
	ringSize   = 256 << 10 // power of two; more falls out of the processor's cache
	ringHeader = 4096
	ringBytes  = ringHeader + ringSize

	// publishEvery is after how much the consumer may see what was put in.
	publishEvery = 32 << 10
	// roomToWake is how much room must be there before a sleeping producer is woken.
	roomToWake = ringSize / 4
)

var errRing = errors.New("peer broke the shared memory's rules")

func ringAt(mem []byte) *ring {
	word := func(off int) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&mem[off])) }
	return &ring{
		head: word(0), tail: word(64), consumerSleeps: word(128), producerSleeps: word(192),
		data:  mem[ringHeader:ringBytes],
		order: new(atomic.Uint32),
	}
}

// put copies from v what there is room for, and returns how many bytes.
func (r *ring) put(v *Vec) (int, error) {
	used := r.mine - r.tail.Load()
	if used > ringSize {
		return 0, errRing
	}
	room, put, hidden := int(ringSize-used), 0, 0
	for room > 0 && v.Len() > 0 {
		at := int(r.mine & (ringSize - 1))
		n := copy(r.data[at:min(at+room, ringSize)], v.Front())
		v.Consume(n)
		r.mine += uint32(n)
		put += n
		room -= n
		if hidden += n; hidden >= publishEvery {
			r.publish()
			hidden = 0
		}
	}
	if hidden > 0 {
		r.publish()
	}
	return put, nil
}

func (r *ring) publish() {
	r.order.Add(1)
	r.head.Store(r.mine)
	if r.consumerSleeps.Load() != 0 {
		futexWake(r.head)
	}
}

// take copies to v what is there, and returns how many bytes.
func (r *ring) take(v *Vec) (int, error) {
	there := r.head.Load() - r.mine
	if there > ringSize {
		return 0, errRing
	}
	r.order.Load()
	taken := 0
	for there > 0 && v.Len() > 0 {
		at := int(r.mine & (ringSize - 1))
		n := copy(v.Front(), r.data[at:min(at+int(there), ringSize)])
		v.Consume(n)
		r.mine += uint32(n)
		taken += n
		there -= uint32(n)
	}
	if taken > 0 {
		r.tail.Store(r.mine)
		if r.producerSleeps.Load() != 0 && ringSize-there >= roomToWake {
			futexWake(r.tail)
		}
	}
	return taken, nil
}

// awaitData sleeps until there may be something to take, at most for timeout (0:
// for ever), unless stop says so.
func (r *ring) awaitData(timeout time.Duration, stop func() bool) error {
	return r.await(r.consumerSleeps, r.head, r.mine, timeout, stop) // head == mine: empty
}

// awaitRoom sleeps until there may be room to put something, likewise.
func (r *ring) awaitRoom(timeout time.Duration, stop func() bool) error {
	return r.await(r.producerSleeps, r.tail, r.mine-ringSize, timeout, stop) // tail == mine-ringSize: full
}

func (r *ring) await(flag, word *atomic.Uint32, value uint32, timeout time.Duration, stop func() bool) error {
	r.asleep.Add(1)
	defer r.asleep.Add(-1)
	if stop() {
		return nil
	}
	flag.Store(1)
	defer flag.Store(0)
	return futexWait(word, value, timeout)
}

// rouse wakes those of this process that sleep. What stop looks at has been
// changed before, so that nobody falls asleep anew; but one may be on the way
// into the kernel, where a wake-up can't find it yet.
func (r *ring) rouse() {
	for r.asleep.Load() > 0 {
		futexWake(r.head)
		futexWake(r.tail)
		time.Sleep(20 * time.Microsecond)
	}
}

// Operations of futex(2), for memory that processes share.
const (
	futexOpWait = 0
	futexOpWake = 1
)

// futexWait sleeps while *word is value, for at most timeout (0: for ever). It
// returns nil on any wake-up, ErrPatience at the timeout.
func futexWait(word *atomic.Uint32, value uint32, timeout time.Duration) error {
	var ts *unix.Timespec
	if timeout > 0 {
		t := unix.NsecToTimespec(timeout.Nanoseconds())
		ts = &t
	}
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexOpWait, uintptr(value),
		uintptr(unsafe.Pointer(ts)), 0, 0)
	switch errno {
	case 0, unix.EAGAIN, unix.EINTR:
		return nil
	case unix.ETIMEDOUT:
		return ErrPatience
	}
	return fmt.Errorf("futex wait: %w", errno)
}

func futexWake(word *atomic.Uint32) {
	unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexOpWake, 1<<30, 0, 0, 0)
}
