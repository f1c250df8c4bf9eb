package net

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/iovec"
	"splitvm/vmm/virtio/virtq"
)

// batch is how many frames pass before the guest is told of them at the
// latest: interrupts are dear, and waiting for a queue to run dry is slow.
const batch = 32

// transmitter moves frames from a transmit queue to a descriptor.
type transmitter struct {
	dev   *Device
	queue *virtio.Queue
	fd    int
	halt  *virtio.Event

	chain  virtq.Chain
	views  [][]byte
	vector iovec.Vector
}

// serve is the queue's worker.
func (t *transmitter) serve() error {
	defer t.queue.Notify()
	for n := 1; ; n++ {
		if got, err := t.queue.Pop(&t.chain); !got || err != nil {
			return err
		}
		stopped, err := t.send()
		if stopped || err != nil {
			return err
		}
		t.queue.Push(&t.chain, 0)
		if n%batch == 0 {
			t.queue.Notify()
		}
	}
}

// send writes one frame. The header is the network's to check, and a frame
// that it refuses is dropped, as a cable would.
func (t *transmitter) send() (stopped bool, err error) {
	n := t.chain.ReadableLen()
	if t.views, err = t.chain.AppendReadable(t.views[:0], 0, n); err != nil {
		return false, fmt.Errorf("frame to send: %w", err)
	}
	if n <= HeaderSize || t.dev.down.Load() {
		t.dev.stats.txDropped.Add(1)
		return false, nil
	}
	t.vector.Reset()
	t.vector.Add(t.views...)
	for {
		_, err := t.vector.WriteTo(t.fd)
		switch err {
		case nil:
			t.dev.stats.txFrames.Add(1)
			t.dev.stats.txBytes.Add(uint64(n - HeaderSize))
			return false, nil
		case unix.EAGAIN:
			ready, err := await(t.fd, unix.POLLOUT, t.halt, forever)
			if !ready || err != nil {
				return !ready, err
			}
		default:
			t.dev.stats.txDropped.Add(1)
			return false, nil
		}
	}
}

// forever is no timeout.
const forever time.Duration = -1

// await sleeps until fd is ready for what events says; false when halt is
// signalled first, or the timeout has passed.
func await(fd int, events int16, halt *virtio.Event, timeout time.Duration) (bool, error) {
	set := [2]unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(halt.FD()), Events: unix.POLLIN}}
	ms := -1
	if timeout != forever {
		ms = int(timeout.Milliseconds())
	}
	for {
		n, err := unix.Poll(set[:], ms)
		if err == unix.EINTR {
			continue // and the timeout begins anew
		}
		if err != nil {
			return false, fmt.Errorf("wait for the network: poll: %w", err)
		}
		return n > 0 && set[1].Revents == 0, nil
	}
}
