package console

import (
	"io"
	"sync"

	"splitvm/guest/layout"
	"splitvm/vmm/memory"
	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtq"
)

// chunk is the most bytes moved out of, or into, guest memory at a time.
const chunk = 16 << 10

// drain moves a transmit queue's chains into the port's outbox.
type drain struct {
	queue *virtio.Queue
	mem   *memory.Memory
	out   *outbox

	chain   virtq.Chain
	pending bool // chain is popped, and its bytes from done on are not taken
	done    uint64
	buf     [chunk]byte
}

// serve takes all chains there are, waiting for room; when the outbox is
// halted it returns with a chain in the middle.
func (d *drain) serve() error {
	defer d.queue.Notify()
	for {
		if more, err := d.one(); !more || err != nil {
			return err
		}
	}
}

// sweep is serve after the end: no more than what the ring holds, and without
// waiting. Its errors matter to nobody any more.
func (d *drain) sweep() {
	for range d.queue.Size() {
		if more, err := d.one(); !more || err != nil {
			return
		}
	}
}

// one takes one chain; false when there is none or no room to come.
func (d *drain) one() (bool, error) {
	if !d.pending {
		more, err := d.queue.Pop(&d.chain)
		if !more || err != nil {
			return false, err
		}
		d.pending, d.done = true, 0
	}
	if taken, err := d.take(); !taken || err != nil {
		return false, err
	}
	d.pending = false
	d.queue.Push(&d.chain, 0)
	return true, nil
}

func (d *drain) take() (all bool, err error) {
	skip := d.done
	for _, s := range d.chain.Readable {
		if skip >= uint64(s.Len) {
			skip -= uint64(s.Len)
			continue
		}
		for at := skip; at < uint64(s.Len); {
			room := d.out.room()
			if room == 0 {
				return false, nil
			}
			n := min(uint64(s.Len)-at, uint64(room), chunk)
			if err := d.mem.ReadAt(d.buf[:n], s.GPA+layout.GPA(at)); err != nil {
				return false, err
			}
			d.out.add(d.buf[:n])
			at, d.done = at+n, d.done+n
		}
		skip = 0
	}
	return true, nil
}

// outbox is the buffer between a port and its Output, with the goroutine that
// writes. One goroutine fills it: room, then add.
type outbox struct {
	w    io.Writer
	size int
	done chan struct{}

	mu      sync.Mutex
	changed sync.Cond
	buf     []byte // guarded by mu, as all below
	halted  bool   // nobody waits for room
	left    int    // when halted: bytes that are still taken, so that there is an end
	closed  bool
	err     error // of w
}

func startOutbox(w io.Writer, size int) *outbox {
	if w == nil {
		w = io.Discard
	}
	o := &outbox{w: w, size: size, done: make(chan struct{})}
	o.changed.L = &o.mu
	go o.run()
	return o
}

// room waits until something fits and returns how much. When halted it does
// not wait, and gives no more in all than fitted at that moment.
func (o *outbox) room() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.buf) >= o.size && !o.halted && !o.closed {
		o.changed.Wait()
	}
	switch {
	case o.closed:
		return 0
	case o.halted:
		return o.left
	}
	return o.size - len(o.buf)
}

// add appends p, which fits.
func (o *outbox) add(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left -= len(p)
	if o.err == nil {
		o.buf = append(o.buf, p...)
		o.changed.Broadcast()
	}
}

func (o *outbox) halt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.halted, o.left = true, max(o.size-len(o.buf), 0)
	o.changed.Broadcast()
}

func (o *outbox) resume() { o.set(&o.halted, false) }

func (o *outbox) set(flag *bool, v bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	*flag = v
	o.changed.Broadcast()
}

// close writes out the rest and returns w's first error.
func (o *outbox) close() error {
	o.set(&o.closed, true)
	<-o.done
	return o.err
}

func (o *outbox) run() {
	defer close(o.done)
	var spare []byte
	for {
		p := o.take(spare)
		if len(p) == 0 {
			return
		}
		if _, err := o.w.Write(p); err != nil {
			o.failed(err)
		}
		spare = p[:0]
	}
}

// take waits for bytes and exchanges the buffer for spare; nothing when closed
// and all is out.
func (o *outbox) take(spare []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.buf) == 0 && !o.closed {
		o.changed.Wait()
	}
	p := o.buf
	o.buf = spare
	o.changed.Broadcast()
	return p
}

func (o *outbox) failed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	o.buf = o.buf[:0]
	o.changed.Broadcast()
}
