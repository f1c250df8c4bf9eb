package console

import (
	"fmt"
	"sync"
	"time"

	"splitvm/vmm/virtio"
)

// port is one port, whatever the device's state.
type port struct {
	Port
	id  uint32
	in  inbox
	out *outbox
}

func newPort(id uint32, cfg Port) *port {
	if cfg.Buffer == 0 {
		cfg.Buffer = DefaultBuffer
	}
	p := &port{Port: cfg, id: id, out: startOutbox(cfg.Output, cfg.Buffer)}
	p.in.changed.L = &p.in.mu
	return p
}

// running is the device between Activate and Reset.
type running struct {
	virtio.Activation
	dev     *Device
	control *control // nil without control queues
	served  []*virtio.Worker
	drains  []*drain
	stopped chan struct{}
	group   sync.WaitGroup // everything that Reset waits for, but served
}

// Activate starts the ports whose queues the driver enabled, and control.
func (d *Device) Activate(a virtio.Activation) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run != nil {
		panic("console: activated twice")
	}
	multiport := a.Features.Has(featureMultiport)
	if multiport && (a.Queues[2] == nil || a.Queues[3] == nil) {
		return fmt.Errorf("activate console: ports were negotiated and their control queues not enabled")
	}
	r := &running{Activation: a, dev: d, stopped: make(chan struct{})}
	d.run = r
	if !multiport {
		r.startPort(d.ports[0], a.Queues[0], a.Queues[1])
		r.group.Go(r.settleDown)
		return nil
	}
	r.control = newControl(r, d.ports)
	for i, p := range d.ports {
		q := 2 * i
		if i > 0 {
			q += 2 // those of control lie between
		}
		r.startPort(p, a.Queues[q], a.Queues[q+1])
	}
	r.startControl(a.Queues[2], a.Queues[3])
	return nil
}

func (r *running) startPort(p *port, rx, tx *virtio.Queue) {
	if tx != nil {
		p.out.resume()
		dr := &drain{queue: tx, mem: r.Memory, out: p.out}
		r.drains = append(r.drains, dr)
		r.served = append(r.served, virtio.StartWorker(tx, dr.serve, r.Fail))
	}
	if rx != nil {
		p.in.resume()
		s := &supply{sender: sender{queue: rx, stopped: r.stopped}, mem: r.Memory, in: &p.in}
		r.spawn(s.run)
	}
}

func (r *running) startControl(rx, tx *virtio.Queue) {
	r.served = append(r.served, virtio.StartWorker(tx, (&listener{queue: tx, control: r.control}).serve, r.Fail))
	s := &announcer{sender: sender{queue: rx, stopped: r.stopped}, control: r.control}
	r.spawn(s.run)
}

func (r *running) spawn(run func() error) {
	r.group.Go(func() {
		if err := run(); err != nil {
			r.Fail(err)
		}
	})
}

// settleDown is for the form without control queues: it takes the port as open
// and announces the window size when the driver must be ready.
func (r *running) settleDown() {
	select {
	case <-time.After(r.dev.settle):
		r.dev.ports[0].open(true)
		r.ConfigChanged()
	case <-r.stopped:
	}
}

func (r *running) resize(cols, rows uint16) {
	if r.control != nil {
		r.control.resize(cols, rows)
	}
	r.ConfigChanged()
}

// Reset stops everything that touches guest memory, and takes what output
// there still is.
func (d *Device) Reset() {
	d.mu.Lock()
	r := d.run
	d.run = nil
	d.mu.Unlock()
	if r == nil {
		return
	}
	close(r.stopped)
	for _, p := range d.ports {
		p.out.halt()
		p.in.halt()
	}
	if r.control != nil {
		r.control.halt()
	}
	for _, q := range r.Queues {
		if q != nil {
			q.Kick.Signal()
		}
	}
	for _, w := range r.served {
		w.Stop()
	}
	r.group.Wait()
	for _, dr := range r.drains {
		dr.sweep()
	}
	for _, p := range d.ports {
		p.open(false)
	}
}

// open says that the guest has opened or closed the port. It belongs to one
// goroutine at a time.
func (p *port) open(open bool) {
	if p.in.setOpen(open) && p.Opened != nil {
		p.Opened(open)
	}
}
