package tap

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/vmm/virtio/net"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// BenchmarkTransmit sends frames from guest memory through a tap, in bursts of
// 32 as a driver under load does.
func BenchmarkTransmit(b *testing.B) {
	for _, size := range []int{64, 1500, 60_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			namespace(b)
			tap := open(b, Config{Up: true})
			dev, err := net.New(net.Config{Backend: tap, MAC: net.MAC{2, 0, 0, 0, 0, 1}})
			if err != nil {
				b.Fatal(err)
			}
			m := virtiotest.Start(b, dev, virtiotest.Options{EventIdx: true}, 0)
			header, p := segment(1, 9, size)
			p = append(header, p...)
			at := m.Alloc(uint64(len(p)))
			if err := m.Memory.WriteAt(p, at); err != nil {
				b.Fatal(err)
			}
			q, span := m.Queues[1], []virtq.Span{{GPA: at, Len: uint32(len(p))}}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; {
				n := min(left, 32)
				for range n {
					q.Add(span, nil)
				}
				q.Kick()
				for range n {
					q.Wait()
				}
				left -= n
			}
			b.StopTimer()
			if s := dev.Stats(); s.TxFrames != uint64(b.N) {
				b.Errorf("%+v after %d frames", s, b.N)
			}
		})
	}
}

// BenchmarkReceive sends frames from a packet socket through a tap into guest
// memory.
func BenchmarkReceive(b *testing.B) {
	for _, size := range []int{64, 1400} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			namespace(b)
			tap := open(b, Config{Up: true})
			dev, err := net.New(net.Config{Backend: tap, MAC: net.MAC{2, 0, 0, 0, 0, 1}})
			if err != nil {
				b.Fatal(err)
			}
			m := virtiotest.Start(b, dev, virtiotest.Options{EventIdx: true}, 0)
			host, q := wire(b, tap), m.Queues[0]
			bufs := map[int]virtq.Span{}
			supply := func(s virtq.Span) {
				id, _ := q.Add(nil, []virtq.Span{s})
				bufs[id] = s
			}
			for range 200 { // of a page, as Linux has them
				supply(virtq.Span{GPA: m.Alloc(4096), Len: 4096})
			}
			q.Kick()
			p := frame(net.MAC{2, 0, 0, 0, 0, 1}, string(make([]byte, size)))
			b.SetBytes(int64(size))
			b.ResetTimer()
			for left := b.N; left > 0; {
				n := min(left, 32)
				for range n {
					if _, err := unix.Write(host, p); err != nil {
						b.Fatal(err)
					}
				}
				for range n {
					id, _ := q.Wait()
					supply(bufs[id])
				}
				q.Kick()
				left -= n
			}
		})
	}
}
