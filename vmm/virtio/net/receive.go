package net

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/vmm/memory"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/iovec"
)

// receiver moves frames from a descriptor to a receive queue.
type receiver struct {
	dev       *Device
	mem       *memory.Memory
	fd        int
	halt      *virtio.Event
	halted    atomic.Bool
	mergeable bool
	stock     stock

	vector iovec.Vector
	beyond [1]byte // takes the first byte that a single chain has no room for
	frame  []byte  // of our own, for a frame that the stock may not hold
}

func newReceiver(r *running, q *virtio.Queue, fd int, halt *virtio.Event) *receiver {
	return &receiver{dev: r.dev, mem: r.Memory, fd: fd, halt: halt, mergeable: r.Features.Has(featureMergeable), stock: stock{queue: q}}
}

// run receives until halt is signalled and halted set.
func (r *receiver) run() error {
	q := r.stock.queue
	q.DisableKicks()
	for n := 1; !r.halted.Load(); n++ {
		if n%batch == 0 {
			q.Notify()
		}
		got, err := r.one()
		if err != nil {
			return err
		}
		if !got {
			q.Notify()
			if _, err := await(r.fd, unix.POLLIN, r.halt, forever); err != nil {
				return err
			}
		}
	}
	return nil
}

// one receives a frame; false if there is none.
func (r *receiver) one() (bool, error) {
	want := uint64(1)
	if r.mergeable {
		want = MaxFrame
	}
	if err := r.stock.fill(want); err != nil {
		return false, err
	}
	switch {
	case len(r.stock.chains) == 0:
		_, err := r.more(forever)
		return true, err
	case r.stock.bytes < want:
		return r.indirect()
	}
	return r.direct()
}

// more sleeps until the driver supplies another chain, for the given time or
// for ever; false when none came or the receiver is halted.
func (r *receiver) more(timeout time.Duration) (bool, error) {
	q := r.stock.queue
	q.Notify()
	defer q.DisableKicks()
	if more, err := q.EnableKicks(); more || err != nil {
		return more, err
	}
	kicked, err := await(q.Kick.FD(), unix.POLLIN, r.halt, timeout)
	if kicked && err == nil {
		err = q.Kick.Clear()
	}
	return kicked, err
}

// direct reads a frame into the chains in hand.
func (r *receiver) direct() (bool, error) {
	room := r.stock.bytes
	r.vector.Reset()
	r.vector.Add(r.stock.views...)
	if !r.mergeable {
		room = uint64(r.stock.chains[0].WritableLen())
		r.vector.Add(r.beyond[:])
	}
	n, err := r.vector.ReadFrom(r.fd)
	if n == 0 {
		return r.nothing(err)
	}
	if r.dev.down.Load() || n <= HeaderSize || uint64(n) > room {
		r.dev.stats.rxDropped.Add(1)
		return true, nil
	}
	return true, r.give(n)
}

// indirect reads a frame into a buffer of ours and then waits for the chains
// that it takes. The frame is dropped if they don't come in a while: the
// driver's ring may be too small for it, which shows in no other way.
func (r *receiver) indirect() (bool, error) {
	if r.frame == nil {
		r.frame = make([]byte, MaxFrame)
	}
	r.vector.Reset()
	r.vector.Add(r.frame)
	n, err := r.vector.ReadFrom(r.fd)
	if n == 0 {
		return r.nothing(err)
	}
	if r.dev.down.Load() || n <= HeaderSize {
		r.dev.stats.rxDropped.Add(1)
		return true, nil
	}
	for {
		if err := r.stock.fill(uint64(n)); err != nil {
			return false, err
		}
		if r.stock.bytes >= uint64(n) {
			break
		}
		if more, err := r.more(r.dev.hold); !more || err != nil {
			r.dev.stats.rxDropped.Add(1)
			return true, err
		}
	}
	if err := r.stock.write(r.mem, r.frame[:n]); err != nil {
		return false, err
	}
	return true, r.give(n)
}

func (r *receiver) nothing(err error) (bool, error) {
	if err == unix.EAGAIN {
		return false, nil
	}
	if err == nil {
		err = unix.EPIPE
	}
	return false, fmt.Errorf("receive from the network: %w", err)
}

// give hands over the first n bytes of the stock, a frame with its header, in
// which num_buffers is still to be set (virtio 1.2, 5.1.6.3.1).
func (r *receiver) give(n int) error {
	buffers := r.stock.cover(n)
	var num [2]byte
	binary.LittleEndian.PutUint16(num[:], uint16(buffers))
	if err := r.stock.chains[0].Store(HeaderSize-2, num[:]); err != nil {
		return fmt.Errorf("receive buffer: %w", err)
	}
	r.stock.use(buffers, n)
	r.dev.stats.rxFrames.Add(1)
	r.dev.stats.rxBytes.Add(uint64(n - HeaderSize))
	return nil
}
