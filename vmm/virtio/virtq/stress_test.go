package virtq_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// TestBothSidesAtOnce has a driver, a popper and a pusher in goroutines of
// their own, each asleep whenever it may be. A barrier missing on either side
// shows as a notification that never comes.
func TestBothSidesAtOnce(t *testing.T) {
	eachRing(t, func(t *testing.T, o virtiotest.Options) {
		const chains = 20_000
		driver, q := newPair(t, o)
		kick, irq := make(chan struct{}, 1), make(chan struct{}, 1)
		popped := make(chan *virtq.Chain, o.Size)
		var sides sync.WaitGroup
		sides.Go(func() { defer close(popped); popAll(t, q, kick, popped, chains) })
		sides.Go(func() { pushAll(q, irq, popped) })
		sides.Go(func() { driveAll(t, driver, kick, irq, chains) })
		sides.Wait()
	})
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func await(t *testing.T, what string, c chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-time.After(virtiotest.Patience):
		t.Errorf("%s: no notification", what)
		return false
	}
}

func popAll(t *testing.T, q *virtq.Queue, kick chan struct{}, popped chan *virtq.Chain, chains int) {
	for n := 0; n < chains; {
		c := new(virtq.Chain)
		ok, err := q.Pop(c)
		if err != nil {
			t.Error(err)
			return
		}
		if ok {
			popped <- c
			n++
			continue
		}
		if more, err := q.EnableKicks(); err != nil || !more && !await(t, "device", kick) {
			t.Error(err)
			return
		}
		q.DisableKicks()
	}
}

// pushAll pushes batches of random size.
func pushAll(q *virtq.Queue, irq chan struct{}, popped chan *virtq.Chain) {
	left := rand.N(4)
	for c := range popped {
		q.Push(c, c.WritableLen())
		if left--; left < 0 || len(popped) == 0 {
			left = rand.N(4)
			if q.NeedsInterrupt() {
				signal(irq)
			}
		}
	}
}

func driveAll(t *testing.T, driver virtiotest.Ring, kick, irq chan struct{}, chains int) {
	added, taken := 0, 0
	for taken < chains {
		for added < chains && rand.N(8) > 0 {
			if _, ok := driver.Add(nil, []virtq.Span{{GPA: 0x1000, Len: 8}}); !ok {
				break
			}
			added++
		}
		if driver.NeedsKick() {
			signal(kick)
		}
		driver.WantInterrupts(false)
		for {
			_, written, ok := driver.Used()
			if !ok {
				break
			}
			if taken++; written != 8 {
				t.Errorf("chain %d came back with %d bytes", taken, written)
			}
		}
		if taken < added && !driver.WantInterrupts(true) && !await(t, "driver", irq) {
			return
		}
	}
}
