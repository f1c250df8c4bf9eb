package serial

import (
	"io"
	"sync"
	"sync/atomic"
)

// transmit is a write of THR. The byte leaves at once if there is room, which
// takes the transmitter's interrupt away and brings it again: an edge, for
// interrupt controllers that go by edges.
func (u *UART) transmit(v byte) {
	if u.mcr&mcrLoop != 0 {
		u.loop(v)
	} else {
		u.out.put(v)
	}
	u.thri = false
	u.update()
	u.thri = u.out.room()
	u.update()
}

// loop is the receiver's end of the loopback.
func (u *UART) loop(v byte) {
	if u.rxLen >= u.depth() {
		u.errors |= lsrOE
		return
	}
	u.accept(v)
}

// transmitted says that the output has room again after it had none.
func (u *UART) transmitted() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.thri = true
	u.update()
}

// output is the buffer between the transmitter and a writer that may be slow,
// and the goroutine in between. Its lock is taken after UART.mu; the
// goroutine holds neither while it writes.
type output struct {
	w       io.Writer
	size    int
	roomy   func()
	dropped atomic.Uint64
	done    chan struct{}

	mu     sync.Mutex
	filled sync.Cond // or closed
	buf    []byte    // guarded by mu
	closed bool      // guarded by mu
	err    error     // of w, the first; guarded by mu
}

func startOutput(w io.Writer, size int, roomy func()) *output {
	if w == nil {
		w = io.Discard
	}
	o := &output{w: w, size: size, roomy: roomy, done: make(chan struct{})}
	o.filled.L = &o.mu
	go o.run()
	return o
}

// room tells whether a FIFO's worth can be put: what a driver sends after one
// look at THRE.
func (o *output) room() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.roomLocked()
}

func (o *output) roomLocked() bool { return o.size-len(o.buf) >= fifoDepth }

func (o *output) put(v byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.buf) == o.size || o.closed || o.err != nil {
		o.dropped.Add(1)
		return
	}
	o.buf = append(o.buf, v)
	o.filled.Signal()
}

func (o *output) close() error {
	o.mu.Lock()
	o.closed = true
	o.filled.Signal()
	o.mu.Unlock()
	<-o.done
	return o.err // run has ended, and put only reads it
}

func (o *output) run() {
	defer close(o.done)
	var spare []byte
	for {
		p, freed := o.take(spare)
		if freed {
			o.roomy()
		}
		if len(p) == 0 {
			return
		}
		if _, err := o.w.Write(p); err != nil && o.failed(err) {
			o.roomy()
		}
		spare = p[:0]
	}
}

// take waits for output and exchanges the buffer for spare; nothing once all
// is out and the port closed. freed tells that there was no room before.
func (o *output) take(spare []byte) (p []byte, freed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.buf) == 0 && !o.closed {
		o.filled.Wait()
	}
	freed = !o.roomLocked()
	p, o.buf = o.buf, spare
	return p, freed
}

// failed throws away what is buffered, and put all that comes. freed is as of
// take.
func (o *output) failed(err error) (freed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	freed = !o.roomLocked()
	if o.err == nil {
		o.err = err
	}
	o.dropped.Add(uint64(len(o.buf)))
	o.buf = o.buf[:0]
	return freed
}
