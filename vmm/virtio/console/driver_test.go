package console

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"splitvm/guest/layout"
	"splitvm/vmm/memory"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

const (
	ringSize = 8
	bufSize  = 1 << 10
	perQueue = 1 << 20 // of RAM: ring, then buffers
	bufStart = 1 << 19
	patience = 20 * time.Second
)

// driver is a guest's driver of a console device, with the rings of package
// virtiotest. Each queue belongs to one goroutine of the test.
type driver struct {
	t      testing.TB
	mem    *memory.Memory
	dev    *Device
	queues []*guestQueue
	config atomic.Int32 // ConfigChanged calls
	failed chan error
}

type guestQueue struct {
	*driver
	ring   virtiotest.Ring
	kick   *virtio.Event
	irq    chan struct{}
	device *virtio.Queue
	base   layout.GPA         // of the buffers
	at     map[int]layout.GPA // buffer of a chain
	free   []layout.GPA
}

// boot makes a driver and activates the device.
func boot(t testing.TB, d *Device, features virtio.Features, o virtiotest.Options) *driver {
	t.Helper()
	n := len(d.Describe().Queues)
	g := &driver{t: t, mem: virtiotest.RAM(t, uint64(n)*perQueue), dev: d, failed: make(chan error, 100)}
	o.Size = ringSize
	a := virtio.Activation{Features: features | virtio.FeatureVersion1, Memory: g.mem,
		ConfigChanged: func() { g.config.Add(1) }, Fail: func(err error) { g.failed <- err }}
	for i := range n {
		q := g.newQueue(layout.GPA(i)*perQueue, o)
		g.queues = append(g.queues, q)
		a.Queues = append(a.Queues, q.device)
	}
	if err := d.Activate(a); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Reset() })
	return g
}

func (g *driver) newQueue(base layout.GPA, o virtiotest.Options) *guestQueue {
	g.t.Helper()
	q := &guestQueue{driver: g, irq: make(chan struct{}, 1), base: base + bufStart, at: map[int]layout.GPA{}}
	var c virtq.Config
	q.ring, c = virtiotest.NewRing(g.t, g.mem, base, o)
	ring, err := virtq.New(g.mem, c)
	if err != nil {
		g.t.Fatal(err)
	}
	if q.kick, err = virtio.NewEvent(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { q.kick.Close() })
	q.device = virtio.NewQueue(ring, q.kick, func() {
		select {
		case q.irq <- struct{}{}:
		default:
		}
	})
	for i := range layout.GPA(2 * ringSize) {
		q.free = append(q.free, q.base+2*i*bufSize)
	}
	return q
}

// add makes a chain available of p, or of a buffer for the device to fill,
// cut in two somewhere.
func (q *guestQueue) add(p []byte, writable bool) {
	q.t.Helper()
	buf := q.free[0]
	n := uint32(bufSize)
	if !writable {
		n = uint32(len(p))
		if err := q.mem.WriteAt(p, buf); err != nil {
			q.t.Fatal(err)
		}
	}
	spans := []virtq.Span{{GPA: buf, Len: n / 3}, {GPA: buf + layout.GPA(n/3), Len: n - n/3}}
	var id int
	var ok bool
	if writable {
		id, ok = q.ring.Add(nil, spans)
	} else {
		id, ok = q.ring.Add(spans, nil)
	}
	if !ok {
		q.t.Fatal("no room in the ring")
	}
	q.free, q.at[id] = q.free[1:], buf
	if q.ring.NeedsKick() {
		q.kick.Signal()
	}
}

// used waits for a chain to come back and returns what the device wrote.
func (q *guestQueue) used() ([]byte, error) {
	deadline := time.After(patience)
	for {
		if id, n, ok := q.ring.Used(); ok {
			p := make([]byte, n)
			err := q.mem.ReadAt(p, q.at[id])
			q.free = append(q.free, q.at[id])
			delete(q.at, id)
			return p, err
		}
		if q.ring.WantInterrupts(true) {
			continue
		}
		select {
		case <-q.irq:
		case <-deadline:
			return nil, fmt.Errorf("nothing came back within %v", patience)
		}
	}
}

// send is a write of the guest's that waits until the device has it.
func (q *guestQueue) send(p []byte) {
	q.t.Helper()
	for len(p) > 0 {
		n := min(len(p), bufSize)
		q.add(p[:n], false)
		if _, err := q.used(); err != nil {
			q.t.Fatal(err)
		}
		p = p[n:]
	}
}

// receive stocks the queue and reads n bytes or more.
func (q *guestQueue) receive(n int) []byte {
	q.t.Helper()
	var got []byte
	for len(got) < n {
		for len(q.at) < ringSize/2 {
			q.add(nil, true)
		}
		p, err := q.used()
		if err != nil {
			q.t.Fatalf("after %d of %d bytes: %v", len(got), n, err)
		}
		got = append(got, p...)
	}
	return got
}

// pipe is an Output that a test reads.
func pipe(t testing.TB) (io.Writer, io.Reader) {
	r, w := io.Pipe()
	t.Cleanup(func() { r.Close() })
	return w, r
}
