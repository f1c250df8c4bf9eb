package virtq_test

import (
	"runtime"
	"sync/atomic"
	"testing"

	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// TestBatchIsAllOrNothing: a driver that polls while batches of three are
// pushed finds three chains whenever it finds one.
func TestBatchIsAllOrNothing(t *testing.T) {
	eachRing(t, func(t *testing.T, o virtiotest.Options) {
		const rounds = 500
		driver, q := newPair(t, o)
		var ready atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			for round := range int64(rounds) {
				for ready.Load() <= round {
					runtime.Gosched()
				}
				pushThree(t, q)
			}
		}()
		for range rounds {
			for range 3 {
				driver.Add(nil, []virtq.Span{{GPA: 0x1000, Len: 8}})
			}
			ready.Add(1)
			for n := 0; n == 0; runtime.Gosched() {
				for _, _, ok := driver.Used(); ok; _, _, ok = driver.Used() {
					n++
				}
				if n != 0 && n != 3 {
					t.Fatalf("%d chains of a batch of 3", n)
				}
			}
		}
		<-done
	})
}

func pushThree(t *testing.T, q *virtq.Queue) {
	c := []*virtq.Chain{{}, {}, {}}
	for i := range c {
		if ok, err := q.Pop(c[i]); !ok || err != nil {
			t.Error(ok, err)
		}
	}
	q.PushBatch(c, []uint32{8, 8, 8})
}
