package console

import (
	"io"
	"testing"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

const (
	ringSize = 8
	bufSize  = 1 << 10
)

// driver is a guest's driver of a console device. Each queue belongs to one
// goroutine of the test.
type driver struct {
	*virtiotest.Machine
	t      testing.TB
	queues []*guestQueue
}

type guestQueue struct {
	*virtiotest.Queue
	g    *driver
	at   map[int]layout.GPA // buffer of a chain
	free []layout.GPA
}

// boot makes a driver and activates the device.
func boot(t testing.TB, d *Device, o virtiotest.Options, without virtio.Features) *driver {
	t.Helper()
	o.Size = ringSize
	g := &driver{Machine: virtiotest.Start(t, d, o, without), t: t}
	for _, q := range g.Queues {
		gq := &guestQueue{Queue: q, g: g, at: map[int]layout.GPA{}}
		for range 2 * ringSize {
			gq.free = append(gq.free, g.Alloc(bufSize))
		}
		g.queues = append(g.queues, gq)
	}
	return g
}

// add makes a chain available of p, or of a buffer for the device to fill,
// cut in two somewhere.
func (q *guestQueue) add(p []byte, writable bool) {
	q.g.t.Helper()
	buf := q.free[0]
	n := uint32(bufSize)
	if !writable {
		n = uint32(len(p))
		if err := q.g.Memory.WriteAt(p, buf); err != nil {
			q.g.t.Fatal(err)
		}
	}
	spans := []virtq.Span{{GPA: buf, Len: n / 3}, {GPA: buf + layout.GPA(n/3), Len: n - n/3}}
	var id int
	var ok bool
	if writable {
		id, ok = q.Add(nil, spans)
	} else {
		id, ok = q.Add(spans, nil)
	}
	if !ok {
		q.g.t.Fatal("no room in the ring")
	}
	q.free, q.at[id] = q.free[1:], buf
	q.Kick()
}

// used waits for a chain to come back and returns what the device wrote.
func (q *guestQueue) used() []byte {
	q.g.t.Helper()
	id, n := q.Wait()
	p := make([]byte, n)
	if err := q.g.Memory.ReadAt(p, q.at[id]); err != nil {
		q.g.t.Fatal(err)
	}
	q.free = append(q.free, q.at[id])
	delete(q.at, id)
	return p
}

// send is a write of the guest's that waits until the device has it.
func (q *guestQueue) send(p []byte) {
	q.g.t.Helper()
	for len(p) > 0 {
		n := min(len(p), bufSize)
		q.add(p[:n], false)
		q.used()
		p = p[n:]
	}
}

// receive stocks the queue and reads n bytes or more.
func (q *guestQueue) receive(n int) []byte {
	q.g.t.Helper()
	var got []byte
	for len(got) < n {
		for len(q.at) < ringSize/2 {
			q.add(nil, true)
		}
		got = append(got, q.used()...)
	}
	return got
}

// pipe is an Output that a test reads.
func pipe(t testing.TB) (io.Writer, io.Reader) {
	r, w := io.Pipe()
	t.Cleanup(func() { r.Close() })
	return w, r
}
