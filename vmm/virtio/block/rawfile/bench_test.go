package rawfile_test

import (
	"os"
	"path/filepath"
	"runtime"
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

func BenchmarkBlockRead4KDepth1(b *testing.B)    { benchBlock(b, in, 4096, 1, cached) }
func BenchmarkBlockRead4KDepth32(b *testing.B)   { benchBlock(b, in, 4096, 32, cached) }
func BenchmarkBlockWrite4KDepth1(b *testing.B)   { benchBlock(b, out, 4096, 1, cached) }
func BenchmarkBlockWrite4KDepth32(b *testing.B)  { benchBlock(b, out, 4096, 32, cached) }
func BenchmarkBlockRead128KDepth32(b *testing.B) { benchBlock(b, in, 128<<10, 32, cached) }

// Without the page cache, by io_uring and by the pool.

func BenchmarkDirectRead4KDepth1Ring(b *testing.B)  { benchBlock(b, in, 4096, 1, byRing) }
func BenchmarkDirectRead4KDepth1Pool(b *testing.B)  { benchBlock(b, in, 4096, 1, byPool) }
func BenchmarkDirectRead4KDepth32Ring(b *testing.B) { benchBlock(b, in, 4096, 32, byRing) }
func BenchmarkDirectRead4KDepth32Pool(b *testing.B) { benchBlock(b, in, 4096, 32, byPool) }
func BenchmarkDirectWrite4KDepth32Ring(b *testing.B) {
	benchBlock(b, out, 4096, 32, byRing)
}
func BenchmarkDirectWrite4KDepth32Pool(b *testing.B) {
	benchBlock(b, out, 4096, 32, byPool)
}

func cached(b *testing.B, path string) *rawfile.Disk { return benchOpen(b, rawfile.Config{Path: path}) }
func byRing(b *testing.B, path string) *rawfile.Disk {
	return benchOpen(b, rawfile.Config{Path: path, Direct: true})
}

func byPool(b *testing.B, path string) *rawfile.Disk {
	d := byRing(b, path)
	d.AsIfNoRing()
	return d
}

func benchOpen(b *testing.B, c rawfile.Config) *rawfile.Disk {
	b.Helper()
	d, err := rawfile.Open(c)
	if err != nil {
		b.Skipf("%v: set TMPDIR to a folder on ext4 or xfs", err)
	}
	return d
}

// cpu is the process's own time, which a busy machine changes less.
func cpu(b *testing.B) float64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1000
}

// benchBlock keeps depth requests in flight from a driver that sleeps until an
// interrupt, as Linux does.
func benchBlock(b *testing.B, kind uint32, size uint32, depth int, open func(*testing.B, string) *rawfile.Disk) {
	backend := open(b, benchFile(b))
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
	runtime.LockOSThread() // as a vCPU has its own
	defer runtime.UnlockOSThread()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for slot := range depth {
		send(slot)
	}
	q.Kick()
	before := cpu(b)
	for b.Loop() {
		id, _ := q.Wait()
		send(slots[id])
		q.Kick()
	}
	for range depth {
		q.Wait()
	}
	b.ReportMetric((cpu(b)-before)/float64(sent), "cpu-us/op")
	b.ReportMetric(float64(q.Interrupts.Load())/float64(sent), "irq/op")
}
