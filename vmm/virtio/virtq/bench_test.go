package virtq_test

import (
	"testing"

	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// One operation is one chain of a 16-byte header, a 4 KiB buffer and a status
// byte: popped, pushed and asked for an interrupt, without the driver's part.

func BenchmarkSplitPopPush(b *testing.B)  { bench(b, virtiotest.Options{EventIdx: true}) }
func BenchmarkPackedPopPush(b *testing.B) { bench(b, virtiotest.Options{EventIdx: true, Packed: true}) }
func BenchmarkIndirectPopPush(b *testing.B) {
	bench(b, virtiotest.Options{EventIdx: true, Indirect: true})
}

func bench(b *testing.B, o virtiotest.Options) {
	o.Size = 128
	driver, q := newPair(b, o)
	out := []virtq.Span{{GPA: 0x80000, Len: 16}}
	in := []virtq.Span{{GPA: 0x81000, Len: 4096}, {GPA: 0x80010, Len: 1}}
	var c virtq.Chain
	const batch = 32
	b.ReportAllocs()
	for i := 0; i < b.N; i += batch {
		b.StopTimer()
		for range batch {
			driver.Add(out, in)
		}
		b.StartTimer()
		for range batch {
			if ok, err := q.Pop(&c); !ok || err != nil {
				b.Fatal(ok, err)
			}
			q.Push(&c, 4097)
			q.NeedsInterrupt()
		}
		b.StopTimer()
		for range batch {
			driver.Used()
		}
		b.StartTimer()
	}
}
