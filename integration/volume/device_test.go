package volume

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"splitvm/guest/layout"
	"splitvm/monitors/storage"
	"splitvm/remote/blockclient"
	"splitvm/remote/volumes"
	"splitvm/vmm/virtio/block"
	"splitvm/vmm/virtio/block/volume"
	"splitvm/vmm/virtio/virtiotest"
	"splitvm/vmm/virtio/virtq"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// monitor runs a storage monitor until the test, or stop, ends it.
func monitor(t *testing.T, dir, listen string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- storage.Run(ctx, storage.Config{Listen: []string{listen}, Data: dir, Log: quiet, Ready: func([]net.Addr) { close(ready) }})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	return stop
}

func create(t *testing.T, address string, size uint64) {
	t.Helper()
	c, err := volumes.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.CreateVolume(t.Context(), 1, "v", size); err != nil {
		t.Fatal(err)
	}
}

// Request types and outcomes (virtio 1.2, 5.2.6).
const (
	typeIn      = 0
	typeOut     = 1
	typeFlush   = 4
	typeDiscard = 11

	statusOK    = 0
	statusIOErr = 1
)

// disk is the device with a driver.
type disk struct {
	*virtiotest.Machine
	t *testing.T
}

func start(t *testing.T, cfg blockclient.Config, cache uint64) disk {
	t.Helper()
	cfg.Name, cfg.Log = "v", quiet
	d, err := volume.Open(t.Context(), volume.Config{Config: cfg, Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() }) // what a test wants of it, it says itself
	return drive(t, d)
}

// drive is a guest with the disk.
func drive(t *testing.T, d *volume.Disk) disk {
	t.Helper()
	dev, err := block.New(block.Config{Backend: d})
	if err != nil {
		t.Fatal(err)
	}
	return disk{virtiotest.Start(t, dev, virtiotest.Options{EventIdx: true, Indirect: true}, 0), t}
}

func header(kind uint32, sector uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, kind)
	return binary.LittleEndian.AppendUint64(append(b, 0, 0, 0, 0), sector)
}

func (d disk) read(sector uint64, n int) (data []byte, status byte) {
	d.t.Helper()
	b := d.Queues[0].Do(header(typeIn, sector), n+1)
	return b[:n], b[n]
}

// write sends the payload in pieces of odd lengths.
func (d disk) write(sector uint64, p []byte, piece int) (status byte) {
	d.t.Helper()
	out := append(header(typeOut, sector), p...)
	at := d.Alloc(uint64(len(out) + 1))
	if err := d.Memory.WriteAt(out, at); err != nil {
		d.t.Fatal(err)
	}
	spans := []virtq.Span{{GPA: at, Len: 16}}
	for off := 16; off < len(out); off += piece {
		spans = append(spans, virtq.Span{GPA: at + layout.GPA(off), Len: uint32(min(piece, len(out)-off))})
	}
	end := at + layout.GPA(len(out))
	q := d.Queues[0]
	if _, ok := q.Add(spans, []virtq.Span{{GPA: end, Len: 1}}); !ok {
		d.t.Fatal("the ring is full")
	}
	q.Kick()
	q.Wait()
	b := make([]byte, 1)
	if err := d.Memory.ReadAt(b, end); err != nil {
		d.t.Fatal(err)
	}
	return b[0]
}

func (d disk) must(what string, got, want byte) {
	d.t.Helper()
	if got != want {
		d.t.Fatalf("%s: status %d, want %d", what, got, want)
	}
}

// Requests of every size and shape, larger than one of the volume's and in pieces
// that are no sectors, while the monitor is restarted; without a cache, and with one
// that is smaller than the volume.
func TestDevice(t *testing.T) {
	for name, cache := range map[string]uint64{"no cache": 0, "a cache": 1 << 20} {
		t.Run(name, func(t *testing.T) { testDevice(t, cache) })
	}
}

func testDevice(t *testing.T, cache uint64) {
	const size = 8 << 20
	dir, address := t.TempDir(), "unix:"+filepath.Join(t.TempDir(), "s")
	stop := monitor(t, dir, address)
	create(t, address, size)
	d := start(t, blockclient.Config{Monitors: []string{address}}, cache)
	want, rng := make([]byte, size), rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		sectors := 1 + rng.IntN(256)
		if round%10 == 9 {
			sectors = 5000 // more than a request to the volume may have
		}
		at := rng.IntN(size/512 - sectors)
		data := make([]byte, sectors*512)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		piece := max(len(data)/200+1, 1+rng.IntN(len(data)))
		d.must("write", d.write(uint64(at), data, piece), statusOK)
		copy(want[at*512:], data)
		switch round {
		case 20, 40:
			stop()
			stop = monitor(t, dir, address)
		case 30:
			b := d.Queues[0].Do(append(header(typeDiscard, 0), segment(0, 2048)...), 1)
			d.must("discard", b[0], statusOK)
			clear(want[:2048*512])
		case 50:
			d.must("flush", d.Queues[0].Do(header(typeFlush, 0), 1)[0], statusOK)
		}
	}
	d.must("flush", d.Queues[0].Do(header(typeFlush, 0), 1)[0], statusOK)
	for off := 0; off < size; off += 2 << 20 {
		got, status := d.read(uint64(off/512), 2<<20)
		d.must("read", status, statusOK)
		if !bytes.Equal(got, want[off:off+2<<20]) {
			t.Fatalf("at %d: not what was written", off)
		}
	}
}

func segment(sector uint64, sectors uint32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, sector)
	return append(binary.LittleEndian.AppendUint32(b, sectors), 0, 0, 0, 0)
}

// A monitor that is gone for longer than the deadline is an I/O error, and not a
// hang; and when it is back, so is the disk.
func TestGoneForLong(t *testing.T) {
	dir, address := t.TempDir(), "unix:"+filepath.Join(t.TempDir(), "s")
	stop := monitor(t, dir, address)
	create(t, address, 1<<20)
	d := start(t, blockclient.Config{Monitors: []string{address}, Timeout: 300 * time.Millisecond}, 0)
	data := bytes.Repeat([]byte{5}, 8192)
	d.must("write", d.write(0, data, 8192), statusOK)
	stop()
	_, status := d.read(0, 8192)
	d.must("read of a monitor that is gone", status, statusIOErr)
	d.must("write to a monitor that is gone", d.write(16, data, 8192), statusIOErr)
	monitor(t, dir, address)
	deadline := time.Now().Add(virtiotest.Patience)
	for got, status := d.read(0, 8192); ; got, status = d.read(0, 8192) {
		if status == statusOK {
			if !bytes.Equal(got, data) {
				t.Error("what was written is not there")
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the disk does not come back")
		}
	}
}

// With a cache, writes go on while the monitor is gone. A flush fails then, and takes them
// all there when it is back; so does the end of the VMM.
func TestCacheOfAMonitorThatIsGone(t *testing.T) {
	dir, address := t.TempDir(), "unix:"+filepath.Join(t.TempDir(), "s")
	stop := monitor(t, dir, address)
	create(t, address, 1<<20)
	cfg := blockclient.Config{Name: "v", Monitors: []string{address}, Timeout: 300 * time.Millisecond, Log: quiet}
	b, err := volume.Open(t.Context(), volume.Config{Config: cfg, Cache: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	d := drive(t, b)
	flush := func() byte { return d.Queues[0].Do(header(typeFlush, 0), 1)[0] }
	first, last := bytes.Repeat([]byte{5}, 8192), bytes.Repeat([]byte{6}, 4096)
	stop()
	d.must("write", d.write(0, first, 8192), statusOK)
	d.must("flush of a monitor that is gone", flush(), statusIOErr)
	got, status := d.read(0, 8192)
	if d.must("read", status, statusOK); !bytes.Equal(got, first) {
		t.Error("what was written is not there")
	}
	stop = monitor(t, dir, address)
	for deadline := time.Now().Add(virtiotest.Patience); flush() != statusOK; {
		if time.Now().After(deadline) {
			t.Fatal("the disk does not come back")
		}
	}
	d.must("write", d.write(8, last, 4096), statusOK)
	d.Reset()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, blockclient.Config{Monitors: []string{address}}, 0)
	got, status = again.read(0, 8192)
	if again.must("read", status, statusOK); !bytes.Equal(got, append(first[:4096:4096], last...)) {
		t.Error("what was written is not at the monitor")
	}
}

// A volume that somebody else has taken serves nothing from its cache, when it knows.
func TestCacheOfAVolumeThatWasTaken(t *testing.T) {
	dir, address := t.TempDir(), "unix:"+filepath.Join(t.TempDir(), "s")
	monitor(t, dir, address)
	create(t, address, 1<<20)
	cfg := blockclient.Config{Monitors: []string{address}}
	d := start(t, cfg, 1<<20)
	d.must("write", d.write(0, make([]byte, 8192), 8192), statusOK)
	cfg.Steal = true
	start(t, cfg, 0)
	d.must("flush after the volume was taken", d.Queues[0].Do(header(typeFlush, 0), 1)[0], statusIOErr)
	_, status := d.read(0, 8192)
	d.must("read after the volume was taken", status, statusIOErr)
}
