package bare

import (
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"splitvm/vmm/virtio/vsock"
)

// outside is what goes on outside a machine while its guest runs: people type,
// resize their windows, pull the network's cable, connect to the guest and press
// its power button.
type outside struct {
	random *rand.Rand // of begin alone
	stop   chan struct{}
	done   sync.WaitGroup
}

func (o *outside) begin(seed uint64, r *rack) {
	o.random, o.stop = rand.New(rand.NewPCG(seed, 1)), make(chan struct{})
	for _, w := range []io.Writer{r.terminal.Input(0), r.terminal.Input(1), r.Serial.Input()} {
		o.types(w)
	}
	o.visits(r.sockets)
	random := o.fork()
	o.done.Go(func() {
		for {
			select {
			case <-o.stop:
				return
			case <-time.After(time.Duration(random.IntN(2000)) * time.Microsecond):
			}
			switch random.IntN(3) {
			case 0:
				r.terminal.Resize(uint16(random.Uint32()), uint16(random.Uint32()))
			case 1:
				r.PressPowerButton()
			case 2:
				r.nic.SetLink(random.IntN(3) > 0)
			}
		}
	})
}

// visits connects to the guest's ports, and takes its connections to ours.
func (o *outside) visits(d *vsock.Device) {
	l, err := d.Listen(1)
	if err != nil {
		panic(err) // nobody else listens
	}
	o.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			o.done.Go(func() {
				defer c.Close()
				io.CopyN(c, c, 100<<10)
			})
		}
	})
	random := o.fork()
	o.done.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		o.done.Go(func() { <-o.stop; cancel() })
		for ctx.Err() == nil {
			short, end := context.WithTimeout(ctx, 5*time.Millisecond)
			if c, err := d.Dial(short, vsock.Port(random.IntN(4))); err == nil {
				c.Write(make([]byte, random.IntN(1000)))
				c.Close()
			}
			<-short.Done()
			end()
		}
	})
}

func (o *outside) fork() *rand.Rand { return rand.New(rand.NewPCG(o.random.Uint64(), 2)) }

// types writes until the device is closed.
func (o *outside) types(w io.Writer) {
	random := o.fork()
	o.done.Go(func() {
		text := make([]byte, 3000)
		for i := range text {
			text[i] = byte(random.Uint32())
		}
		for {
			if _, err := w.Write(text[:1+random.IntN(len(text))]); err != nil {
				return
			}
		}
	})
}
