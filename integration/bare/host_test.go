package bare

import (
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"splitvm/vmm/virtio/console"
)

// outside is what goes on outside a machine while its guest runs: people type,
// resize their windows and press the power button.
type outside struct {
	random *rand.Rand // of begin alone
	stop   chan struct{}
	done   sync.WaitGroup
}

func (o *outside) begin(seed uint64, r *rack, terminal *console.Device) {
	o.random, o.stop = rand.New(rand.NewPCG(seed, 1)), make(chan struct{})
	for _, w := range []io.Writer{terminal.Input(0), terminal.Input(1), r.Serial.Input()} {
		o.types(w)
	}
	random := o.fork()
	o.done.Go(func() {
		for {
			select {
			case <-o.stop:
				return
			case <-time.After(time.Duration(random.IntN(2000)) * time.Microsecond):
			}
			if random.IntN(2) == 0 {
				terminal.Resize(uint16(random.Uint32()), uint16(random.Uint32()))
			} else {
				r.PressPowerButton()
			}
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
