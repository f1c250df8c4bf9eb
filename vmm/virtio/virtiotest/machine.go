package virtiotest

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
	"splitvm/vmm/memory"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtq"
)

// Patience is how long a test waits for a device before it fails.
const Patience = time.Minute

// Machine is an activated device and drivers for its queues.
type Machine struct {
	Memory  *memory.Memory
	Queues  []*Queue
	Changed atomic.Int32 // calls of ConfigChanged
	Failed  chan error   // what the device told Fail, up to a few

	t      testing.TB
	dev    virtio.Device
	next   layout.GPA // for Alloc
	active bool
}

// Queue is one queue's driver with its two notifications.
type Queue struct {
	Ring
	Interrupts atomic.Int32

	m    *Machine
	kick *virtio.Event
	irq  *virtio.Event
}

// Start activates dev with its own features, less those in without, and with
// the rings that o says; a Size of 0 is the device's maximum. The device is
// reset when the test ends.
func Start(t testing.TB, dev virtio.Device, o Options, without virtio.Features) *Machine {
	t.Helper()
	return StartIn(t, RAM(t, 64<<20), dev, o, without)
}

// StartIn is Start with RAM of the test's own.
func StartIn(t testing.TB, ram *memory.Memory, dev virtio.Device, o Options, without virtio.Features) *Machine {
	t.Helper()
	m := &Machine{Memory: ram, Failed: make(chan error, 16), t: t, dev: dev, next: page}
	desc := dev.Describe()
	a := virtio.Activation{
		Features:      desc.Features&^without | virtio.FeatureVersion1,
		Memory:        m.Memory,
		ConfigChanged: func() { m.Changed.Add(1) },
		Fail: func(err error) {
			select {
			case m.Failed <- err:
			default:
			}
		},
	}
	for feature, on := range map[virtio.Features]bool{
		virtio.FeatureRingPacked: o.Packed, virtio.FeatureEventIdx: o.EventIdx, virtio.FeatureIndirectDesc: o.Indirect,
	} {
		if on {
			a.Features |= feature
		}
	}
	for _, max := range desc.Queues {
		q, vq := m.addQueue(max, o)
		m.Queues, a.Queues = append(m.Queues, q), append(a.Queues, vq)
	}
	if err := dev.Activate(a); err != nil {
		t.Fatal(err)
	}
	m.active = true
	t.Cleanup(m.Reset)
	return m
}

func (m *Machine) addQueue(max uint16, o Options) (*Queue, *virtio.Queue) {
	if o.Size == 0 {
		o.Size = max
	}
	ring, config := NewRing(m.t, m.Memory, m.Alloc(o.Footprint()), o)
	q := &Queue{Ring: ring, m: m, kick: m.newEvent(), irq: m.newEvent()}
	vq, err := virtq.New(m.Memory, config)
	if err != nil {
		m.t.Fatal(err)
	}
	return q, virtio.NewQueue(vq, q.kick, func() {
		q.Interrupts.Add(1)
		q.irq.Signal()
	})
}

// WaitFailed waits until the device has given up, and returns why.
func (m *Machine) WaitFailed() error {
	m.t.Helper()
	select {
	case err := <-m.Failed:
		if err == nil {
			m.t.Error("failed without an error")
		}
		return err
	case <-time.After(Patience):
		m.t.Fatal("the device did not notice")
		return nil
	}
}

func (m *Machine) newEvent() *virtio.Event {
	m.t.Helper()
	e, err := virtio.NewEvent()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { e.Close() })
	return e
}

// Alloc is n bytes of RAM that nothing else uses, page-aligned.
func (m *Machine) Alloc(n uint64) layout.GPA {
	m.t.Helper()
	at := m.next
	m.next += layout.GPA(round(n))
	if !m.Memory.Contains(at, n) {
		m.t.Fatalf("virtiotest: RAM is used up")
	}
	return at
}

// Reset resets the device; nothing may be sent to it after that.
func (m *Machine) Reset() {
	if m.active {
		m.active = false
		m.dev.Reset()
	}
}

// Config is the device configuration.
func (m *Machine) Config() []byte {
	p := make([]byte, m.dev.Describe().ConfigSize)
	m.dev.ReadConfig(p)
	return p
}

// Kick notifies the device if it wants that.
func (q *Queue) Kick() {
	if q.NeedsKick() {
		q.kick.Signal()
	}
}

// Wait takes back the next used chain, sleeping until an interrupt as a driver
// does. The test fails if none comes.
func (q *Queue) Wait() (id int, written uint32) {
	q.m.t.Helper()
	for {
		if id, written, ok := q.Used(); ok {
			return id, written
		}
		if q.WantInterrupts(true) {
			continue
		}
		if !q.interrupted() {
			q.m.t.Fatalf("no interrupt within %v", Patience)
		}
	}
}

// interrupted waits for an interrupt and takes it; false if none comes.
func (q *Queue) interrupted() bool {
	q.m.t.Helper()
	p := []unix.PollFd{{Fd: int32(q.irq.FD()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, int(Patience.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			q.m.t.Fatal(err)
		case n == 0:
			return false
		}
		if err := q.irq.Wait(); err != nil {
			q.m.t.Fatal(err)
		}
		return true
	}
}

// Do sends one request, out for the device to read and in bytes for it to
// write, and returns what it wrote.
func (q *Queue) Do(out []byte, in int) []byte {
	q.m.t.Helper()
	var readable, writable []virtq.Span
	if len(out) > 0 {
		at := q.m.Alloc(uint64(len(out)))
		if err := q.m.Memory.WriteAt(out, at); err != nil {
			q.m.t.Fatal(err)
		}
		readable = []virtq.Span{{GPA: at, Len: uint32(len(out))}}
	}
	at := q.m.next
	if in > 0 {
		at = q.m.Alloc(uint64(in))
		writable = []virtq.Span{{GPA: at, Len: uint32(in)}}
	}
	if _, ok := q.Add(readable, writable); !ok {
		q.m.t.Fatal("virtiotest: the ring is full")
	}
	q.Kick()
	_, written := q.Wait()
	if written > uint32(in) {
		q.m.t.Fatalf("device says that it wrote %d bytes into %d", written, in)
	}
	reply := make([]byte, written)
	if err := q.m.Memory.ReadAt(reply, at); err != nil {
		q.m.t.Fatal(err)
	}
	return reply
}
