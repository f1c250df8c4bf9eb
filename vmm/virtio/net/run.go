package net

import (
	"fmt"

	"splitvm/vmm/virtio"
)

// running is the device between Activate and Reset. Activate, then the control
// queue's worker, then Reset own it in turn.
type running struct {
	virtio.Activation
	dev     *Device
	control *virtio.Worker // nil without control queue
	pairs   []*pair        // those in use
	want    Settings       // last applied
	driver  driver
}

// Activate starts the first queue pair and control.
func (d *Device) Activate(a virtio.Activation) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run != nil {
		panic("net: activated twice")
	}
	r := &running{Activation: a, dev: d, driver: newDriver(d.mac)}
	r.want.Accept = accepted(a.Features)
	if err := r.usePairs(1); err != nil {
		r.stopPairs(0)
		return fmt.Errorf("activate network device: %w", err)
	}
	if q := r.controlQueue(); q != nil {
		c := &controlQueue{run: r, queue: q}
		r.control = virtio.StartWorker(q, c.serve, a.Fail)
	}
	d.run = r
	return nil
}

// controlQueue is nil if the driver does not use it.
func (r *running) controlQueue() *virtio.Queue {
	if !r.Features.Has(featureControl) {
		return nil
	}
	if !r.Features.Has(featureMultiqueue) {
		return r.Queues[2]
	}
	return r.Queues[2*len(r.dev.queues)]
}

// Reset stops everything that touches guest memory.
func (d *Device) Reset() {
	d.mu.Lock()
	r := d.run
	d.run = nil
	d.mu.Unlock()
	if r == nil {
		return
	}
	if r.control != nil {
		r.control.Stop()
	}
	r.stopPairs(0)
}

// usePairs applies the settings with n queue pairs and starts or stops pairs
// accordingly: those that go stop before the backend takes their queue away.
func (r *running) usePairs(n int) error {
	s := r.want
	s.Pairs, s.Filter = n, r.driver.filter()
	r.stopPairs(n)
	if err := r.dev.backend.Apply(s); err != nil {
		return err
	}
	r.want = s
	for len(r.pairs) < n {
		p, err := r.startPair(len(r.pairs))
		if err != nil {
			return err
		}
		r.pairs = append(r.pairs, p)
	}
	return nil
}

func (r *running) stopPairs(from int) {
	if from >= len(r.pairs) {
		return
	}
	for _, p := range r.pairs[from:] {
		p.stop()
	}
	r.pairs = r.pairs[:from]
}

// accepted is the work that a driver has said may be left to it.
func accepted(f virtio.Features) Offload {
	var o Offload
	for _, b := range offloadBits {
		if f.Has(b.guest) {
			o |= b.offload
		}
	}
	return o
}

// pair is a queue pair in use.
type pair struct {
	halt *virtio.Event // signalled once, and then it stays so
	rx   *receiver     // nil if the driver did not enable the queue
	tx   *virtio.Worker
	done chan struct{} // rx's goroutine
}

func (r *running) startPair(i int) (*pair, error) {
	halt, err := virtio.NewEvent()
	if err != nil {
		return nil, err
	}
	p := &pair{halt: halt, done: make(chan struct{})}
	if q := r.Queues[2*i]; q != nil {
		p.rx = newReceiver(r, q, r.dev.queues[i], halt)
		go func() {
			defer close(p.done)
			if err := p.rx.run(); err != nil {
				r.Fail(err)
			}
		}()
	}
	if q := r.Queues[2*i+1]; q != nil {
		t := &transmitter{dev: r.dev, queue: q, fd: r.dev.queues[i], halt: halt}
		p.tx = virtio.StartWorker(q, t.serve, r.Fail)
	}
	return p, nil
}

func (p *pair) stop() {
	if p.rx != nil {
		p.rx.halted.Store(true)
	}
	p.halt.Signal()
	if p.rx != nil {
		<-p.done
	}
	if p.tx != nil {
		p.tx.Stop()
	}
	p.halt.Close()
}
