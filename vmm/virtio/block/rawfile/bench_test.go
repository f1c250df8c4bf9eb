package rawfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"splitvm/guest/layout"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/block/rawfile"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

// The file is in the page cache. BenchmarkPreadvFloor is the system call that
// any device over it needs; compare runs of both that alternate.

const benchSize = 64 << 20

func benchFile(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, benchSize), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

func BenchmarkPreadvFloor(b *testing.B) {
	f, err := os.Open(benchFile(b))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	m := virtiotest.RAM(b, 1<<20)
	views, err := m.Slices(0x10000, 4096)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if n, err := unix.Preadv(int(f.Fd()), views, int64(i%16384)*4096); n != 4096 {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkBlockRead4KDepth1(b *testing.B)   { benchBlock(b, in, 4096, 1) }
func BenchmarkBlockRead4KDepth32(b *testing.B)  { benchBlock(b, in, 4096, 32) }
func BenchmarkBlockWrite4KDepth1(b *testing.B)  { benchBlock(b, out, 4096, 1) }
func BenchmarkBlockWrite4KDepth32(b *testing.B) { benchBlock(b, out, 4096, 32) }
func BenchmarkBlockRead128KDepth32(b *testing.B) {
	benchBlock(b, in, 128<<10, 32)
}

// benchBlock keeps depth requests in flight from a driver that sleeps until an
// interrupt, as Linux does.
func benchBlock(b *testing.B, kind uint32, size uint32, depth int) {
	backend, err := rawfile.Open(rawfile.Config{Path: benchFile(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer backend.Close()
	dev, err := block.New(block.Config{Backend: backend})
	if err != nil {
		b.Fatal(err)
	}
	m := virtiotest.Start(b, dev, virtiotest.Options{EventIdx: true, Indirect: true}, 0)
	q := m.Queues[0]
	at := m.Alloc(uint64(depth) * (uint64(size) + 4096))
	slots := map[int]int{}
	sent := 0
	send := func(slot int) {
		base := at + layout.GPA(slot)*layout.GPA(size+4096)
		header := virtq.Span{GPA: base, Len: 16}
		if err := m.Memory.WriteAt(request(kind, uint64(sent)*uint64(size)/512%(benchSize/512), nil), base); err != nil {
			b.Fatal(err)
		}
		data, status := virtq.Span{GPA: base + 4096, Len: size}, virtq.Span{GPA: base + 16, Len: 1}
		readable, writable := []virtq.Span{header}, []virtq.Span{data, status}
		if kind == out {
			readable, writable = []virtq.Span{header, data}, []virtq.Span{status}
		}
		id, _ := q.Add(readable, writable)
		slots[id] = slot
		sent++
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for slot := range depth {
		send(slot)
	}
	q.Kick()
	for b.Loop() {
		id, _ := q.Wait()
		send(slots[id])
		q.Kick()
	}
	for range depth {
		q.Wait()
	}
	b.ReportMetric(float64(q.Interrupts.Load())/float64(sent), "irq/op")
}
