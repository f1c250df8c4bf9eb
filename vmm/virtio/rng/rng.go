// Package rng is the virtio entropy device (virtio 1.2, 5.4): the guest's
// buffers are filled by getrandom(2) straight into guest memory, no faster
// than a rate that keeps a guest from using the host's CPU for it.
package rng

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio"
	"splitvm/vmm/virtio/virtq"
)

// Config limits the device. The zero Config is a good one.
type Config struct {
	Rate  int // bytes a second; 0 is 1 MiB
	Burst int // bytes at once after a pause, and the most for one buffer; 0 is 64 KiB
}

const (
	defaultRate  = 1 << 20
	defaultBurst = 64 << 10
	queueSize    = 64
)

// Device is an entropy source. It implements virtio.Device.
type Device struct {
	config Config
	worker *virtio.Worker // of the activation under way
	stop   chan struct{}  // closed to end a pause
}

var _ virtio.Device = (*Device)(nil)

// New makes the device.
func New(c Config) (*Device, error) {
	if c.Rate < 0 || c.Burst < 0 {
		return nil, fmt.Errorf("rng device: a rate of %d and a burst of %d bytes are not possible", c.Rate, c.Burst)
	}
	if c.Rate == 0 {
		c.Rate = defaultRate
	}
	if c.Burst == 0 {
		c.Burst = defaultBurst
	}
	return &Device{config: c}, nil
}

// Describe implements virtio.Device.
func (d *Device) Describe() virtio.Description {
	return virtio.Description{ID: virtio.IDEntropy, Queues: []uint16{queueSize}}
}

// ReadConfig implements virtio.Device; there is no configuration.
func (d *Device) ReadConfig([]byte) {}

// WriteConfig implements virtio.Device.
func (d *Device) WriteConfig(int, []byte) {}

// Activate implements virtio.Device.
func (d *Device) Activate(a virtio.Activation) error {
	q := a.Queues[0]
	if q == nil {
		return nil
	}
	d.stop = make(chan struct{})
	s := &server{queue: q, limit: newLimit(d.config, time.Now()), stop: d.stop}
	d.worker = virtio.StartWorker(q, s.serve, a.Fail)
	return nil
}

// Reset implements virtio.Device.
func (d *Device) Reset() {
	if d.worker == nil {
		return
	}
	close(d.stop)
	d.worker.Stop()
	d.worker = nil
}

// server fills the buffers of one activation; it belongs to the worker.
type server struct {
	queue *virtio.Queue
	limit *limit
	stop  chan struct{}
	chain virtq.Chain
	views [][]byte
}

// serve answers what is there, one interrupt for each buffer: a guest that
// waits for entropy waits for the first.
func (s *server) serve() error {
	for range s.queue.Size() {
		if ok, err := s.queue.Pop(&s.chain); !ok || err != nil {
			return err
		}
		n := min(s.chain.WritableLen(), uint32(s.limit.burst))
		if n == 0 {
			return fmt.Errorf("%w: an entropy buffer without room", virtq.ErrBroken)
		}
		if !s.pause(s.limit.take(int(n), time.Now())) {
			return nil
		}
		var err error
		if s.views, err = s.chain.AppendWritable(s.views[:0], 0, n); err != nil {
			return err
		}
		if err := fill(s.views); err != nil {
			return err
		}
		s.queue.Push(&s.chain, n)
		s.queue.Notify()
	}
	return nil
}

// pause sleeps; false if the device is being reset.
func (s *server) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.stop:
		return false
	}
}

func fill(views [][]byte) error {
	for _, v := range views {
		for len(v) > 0 {
			n, err := unix.Getrandom(v, 0)
			if err != nil && err != unix.EINTR {
				return fmt.Errorf("fill an entropy buffer: getrandom: %w", err)
			}
			v = v[max(n, 0):]
		}
	}
	return nil
}
