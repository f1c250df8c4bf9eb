package vsock

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/iovec"
	"splitvm/vmm/virtio/virtq"
)

// What the muxer's own descriptors are called in epoll.
const (
	idWake = iota
	idRx
	idTx
	idDoor
)

const (
	burst = 64                     // packets per queue before the sockets have their turn
	tick  = 500 * time.Millisecond // between looks at time limits, while there are any
)

// running is the device between Activate and Reset: the muxer between the two
// queues. Its loop owns all but what mu guards.
type running struct {
	virtio.Activation
	*muxer
	door   int
	rx, tx *virtio.Queue
	wake   *virtio.Event
	done   chan struct{}

	out     virtq.Chain // a buffer of the guest's, popped from rx
	holding bool        // out is, and not yet used
	in      virtq.Chain
	views   [][]byte
	vector  iovec.Vector
	later   bool // somebody waits at the door who could not be let in

	mu      sync.Mutex
	dials   []*dial // guarded by mu
	halted  bool    // guarded by mu: no more dials
	stopped bool    // guarded by mu: the loop is to end
}

func start(d *Device, a virtio.Activation) (*running, error) {
	m, err := newMuxer(d)
	if err != nil {
		return nil, err
	}
	r := &running{Activation: a, muxer: m, door: d.door, rx: a.Queues[queueRx], tx: a.Queues[queueTx], done: make(chan struct{})}
	if r.wake, err = virtio.NewEvent(); err == nil {
		err = r.watchOwn()
	}
	if err != nil {
		m.close()
		if r.wake != nil {
			r.wake.Close()
		}
		return nil, err
	}
	go r.main()
	return r, nil
}

func (r *running) watchOwn() error {
	for id, fd := range map[uint32]int{idWake: r.wake.FD(), idRx: r.rx.Kick.FD(), idTx: r.tx.Kick.FD()} {
		if err := r.watch(fd, id, unix.EPOLLIN); err != nil {
			return err
		}
	}
	if r.door < 0 {
		return nil
	}
	return r.watch(r.door, idDoor, unix.EPOLLIN|unix.EPOLLET)
}

// stop ends the loop and all connections.
func (r *running) stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.wake.Signal()
	<-r.done
	r.wake.Close()
}

// post hands an attempt to connect to the loop.
func (r *running) post(a *dial) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted {
		unix.Close(a.fd)
		a.refused(errNotReady)
		return
	}
	r.dials = append(r.dials, a)
	r.wake.Signal()
}

// main is the muxer's goroutine.
func (r *running) main() {
	defer close(r.done)
	if err := r.loop(); err != nil {
		r.Fail(err)
	}
	r.mu.Lock()
	r.halted = true
	r.mu.Unlock()
	for _, a := range r.dials { // post adds no more
		unix.Close(a.fd)
		a.refused(errNotReady)
	}
	r.muxer.close()
}

func (r *running) loop() error {
	var events [64]unix.EpollEvent
	for {
		busy, err := r.serve()
		if err != nil {
			return err
		}
		n, err := retry(func() (int, error) { return unix.EpollWait(r.epoll, events[:], r.patience(busy)) })
		if err != nil {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, e := range events[:n] {
			stop, err := r.dispatch(uint32(e.Fd), e.Events)
			if stop || err != nil {
				return err
			}
		}
		r.expire()
		if r.later {
			r.later = r.welcome(r.door)
		}
	}
}

// patience is how long to sleep, in milliseconds.
func (r *running) patience(busy bool) int {
	switch {
	case busy:
		return 0
	case r.timed > 0 || r.later:
		return int(tick.Milliseconds())
	}
	return -1
}

func (r *running) dispatch(id, events uint32) (stop bool, err error) {
	switch id {
	case idWake:
		if err := r.wake.Clear(); err != nil {
			return false, err
		}
		return r.takeDials(), nil
	case idRx:
		return false, r.rx.Kick.Clear()
	case idTx:
		return false, r.tx.Kick.Clear()
	case idDoor:
		r.later = r.welcome(r.door)
	default:
		r.event(id, events)
	}
	return false, nil
}

func (r *running) takeDials() (stop bool) {
	r.mu.Lock()
	dials := r.dials
	r.dials = nil
	stop = r.stopped
	r.mu.Unlock()
	for _, a := range dials {
		c, err := r.add(a.fd, greeting)
		if err != nil {
			a.refused(err)
			continue
		}
		c.owner = a
		r.request(c, a.port)
	}
	return stop
}

// serve moves packets both ways as far as it goes, or for a burst; then it is
// busy still. When not, both queues have notifications on for what matters.
func (r *running) serve() (busy bool, err error) {
	r.rx.DisableKicks()
	r.tx.DisableKicks()
	heard, err := r.hearAll()
	if err != nil {
		return false, err
	}
	spoke, err := r.speakAll()
	if err != nil {
		return false, err
	}
	r.tx.Notify()
	r.rx.Notify()
	if heard == burst || spoke == burst {
		return true, nil
	}
	if len(r.replies) < maxReplies {
		if busy, err = r.tx.EnableKicks(); busy || err != nil {
			return busy, err
		}
	}
	if r.wants() && !r.holding {
		return r.rx.EnableKicks()
	}
	return false, nil
}

// hearAll takes packets from the guest, unless too many answers wait.
func (r *running) hearAll() (n int, err error) {
	for ; n < burst && len(r.replies) < maxReplies; n++ {
		got, err := r.tx.Pop(&r.in)
		if !got || err != nil {
			return n, err
		}
		if err := r.hearOne(); err != nil {
			return n, fmt.Errorf("packet from the guest: %w", err)
		}
		r.tx.Push(&r.in, 0)
	}
	return n, nil
}

func (r *running) hearOne() error {
	var p [headerSize]byte
	n := r.in.ReadableLen()
	if n < headerSize {
		return nil // not a packet
	}
	if err := r.in.Load(0, p[:]); err != nil {
		return err
	}
	h := decode(&p)
	if h.length > n-headerSize {
		h.op, h.length = 0, 0 // no operation, so it ends its connection
	}
	return r.hear(h, payload{r})
}

// speakAll gives packets to the guest as far as it has buffers.
func (r *running) speakAll() (n int, err error) {
	for ; n < burst && r.wants(); n++ {
		if !r.holding {
			if r.holding, err = r.rx.Pop(&r.out); !r.holding || err != nil {
				return n, err
			}
			if r.out.WritableLen() <= headerSize {
				return n, fmt.Errorf("%w: a buffer for packets of %d bytes", virtq.ErrBroken, r.out.WritableLen())
			}
		}
		var fault error
		h, ok := r.speak(r.out.WritableLen()-headerSize, func(fd int, n uint32) (got int, err error) {
			got, err, fault = r.receive(fd, n)
			return got, err
		})
		if fault != nil {
			return n, fmt.Errorf("buffer for a packet: %w", fault)
		}
		if !ok {
			return n, nil
		}
		var p [headerSize]byte
		h.encode(&p)
		if err := r.out.Store(0, p[:]); err != nil {
			return n, fmt.Errorf("buffer for a packet: %w", err)
		}
		r.rx.Push(&r.out, headerSize+h.length)
		r.holding = false
	}
	return n, nil
}

// receive reads from a socket into the buffer in hand, behind the header.
func (r *running) receive(fd int, n uint32) (got int, err, fault error) {
	if r.views, fault = r.out.AppendWritable(r.views[:0], headerSize, n); fault != nil {
		return 0, unix.EFAULT, fault
	}
	r.vector.Reset()
	r.vector.Add(r.views...)
	got, err = r.vector.ReadFrom(fd)
	return got, err, nil
}

// payload is the body of the packet in r.in.
type payload struct{ *running }

func (p payload) writeTo(fd int, off, n uint32) (int, error) {
	var err error
	if p.views, err = p.in.AppendReadable(p.views[:0], headerSize+off, n); err != nil {
		return 0, err
	}
	p.vector.Reset()
	p.vector.Add(p.views...)
	return p.vector.WriteTo(fd)
}

func (p payload) read(dst []byte, off uint32) error {
	skip := uint64(headerSize) + uint64(off)
	for _, s := range p.in.Readable {
		if skip >= uint64(s.Len) {
			skip -= uint64(s.Len)
			continue
		}
		n := min(uint64(len(dst)), uint64(s.Len)-skip)
		if err := p.Memory.ReadAt(dst[:n], s.GPA+layout.GPA(skip)); err != nil {
			return err
		}
		dst, skip = dst[n:], 0
	}
	return nil
}
