package virtio

import "splitvm/vmm/virtio/virtq"

// Queue is a queue of an activated device: the ring, the guest's notification
// in and the interrupt out. The ring's rules about goroutines hold.
type Queue struct {
	*virtq.Queue
	Kick      *Event // signalled when the driver notifies; the device's worker waits on it
	interrupt func()
}

// NewQueue joins a ring to its notification and its interrupt, which must be
// safe to call from any goroutine and must not block.
func NewQueue(ring *virtq.Queue, kick *Event, interrupt func()) *Queue {
	return &Queue{Queue: ring, Kick: kick, interrupt: interrupt}
}

// Notify interrupts the guest if the driver wants that for what was pushed
// since the last Notify. It belongs to the goroutine that pushes.
func (q *Queue) Notify() {
	if q.NeedsInterrupt() {
		q.interrupt()
	}
}
